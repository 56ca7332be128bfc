"""`distillkit.load`: a student gives the images that its run drew, and says what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import distillkit
from distillkit.api import InputError, UsageError
from distillkit.evaluate.draw import Drawer
from distillkit.networks import network_file
from distillkit.recipe import table_of
from distillkit.testing import toy_state
from distillkit.train.state import State

FEW = {"use": "few-step", "sigmas": [80.0, 1.0]}


def saved(folder: Path, **tables: object) -> State:
    """A run that has just been built, its average saved as its result."""
    state = toy_state(**tables)
    card = {"sample": table_of(state.recipe.sample), "seed": state.seed, "precision": state.recipe.run.precision}
    network_file.save(folder, state.ema, card)
    return state


@pytest.mark.parametrize("tables", [{}, {"sample": FEW, "run": {"seed": 7}}, {"run": {"precision": "bf16"}}])
def test_a_student_gives_the_images_of_its_run_bit_for_bit(tmp_path: Path, tables: dict) -> None:
    draw, loaded = Drawer.student(saved(tmp_path, **tables)), distillkit.load(tmp_path)
    for seed in (0, 2):
        assert torch.equal(loaded(8, seed=seed, device="cpu"), draw(8, seed=seed).x)
    assert torch.equal(loaded(8, labels="random", device="cpu"), draw(8, labels="random").x)
    assert (loaded.nfe, loaded.label_dim, loaded.shape) == (draw.nfe, 3, (2, 8, 8))
    assert loaded.card["network"]["use"] == "mlp"


def test_a_few_step_student_of_another_seed_is_another(tmp_path: Path) -> None:
    saved(tmp_path / "a", sample=FEW)
    saved(tmp_path / "b", sample=FEW, run={"seed": 1})
    assert not torch.equal(distillkit.load(tmp_path / "a")(2), distillkit.load(tmp_path / "b")(2))


def test_classes_can_be_asked_for(tmp_path: Path) -> None:
    saved(tmp_path)
    loaded = distillkit.load(tmp_path)
    assert loaded.draw(range(5)).labels.argmax(1).tolist() == [0, 1, 2, 0, 1]
    assert loaded.draw(range(3), 2).labels.argmax(1).tolist() == [2, 2, 2]
    assert loaded.draw(range(3), [2, 0]).labels.argmax(1).tolist() == [2, 0, 2]
    assert torch.equal(loaded(3, labels=torch.tensor([0, 1, 2])), loaded(3))
    assert torch.equal(loaded(3, labels=torch.eye(3)), loaded(3))


def test_images_in_small_passes_are_the_same_images(tmp_path: Path) -> None:
    saved(tmp_path)
    loaded = distillkit.load(tmp_path)
    torch.testing.assert_close(loaded.draw(range(5), batch=2).x, loaded.draw(range(5)).x)
    torch.testing.assert_close(loaded.draw([4, 1]).x, loaded.draw(range(5)).x[[4, 1]])


@pytest.mark.parametrize(("labels", "message"), [
    (3, "3 was asked for; the student has classes 0 to 2"), (-1, "classes 0 to 2"), ([0.5], "0.5 was asked for"),
    ("rnadom", 'expected classes, a tensor \\[4, 3\\] or "random"'), (torch.eye(3), "a tensor"), ([], "nothing"),
])  # fmt: skip
def test_labels_that_there_are_not_are_refused(tmp_path: Path, labels: object, message: str) -> None:
    saved(tmp_path)
    with pytest.raises(UsageError, match=message):
        distillkit.load(tmp_path)(4, labels=labels)


def test_a_student_without_labels_takes_none(tmp_path: Path) -> None:
    saved(tmp_path, dataset={"use": "toy", "label_dim": 0})
    loaded = distillkit.load(tmp_path)
    assert loaded.draw(range(2)).labels is None
    with pytest.raises(UsageError, match="the student has no labels"):
        loaded(2, labels=0)
    with pytest.raises(UsageError, match="at least 1"):
        loaded(0)


def edited(folder: Path, **keys: object) -> None:
    card = json.loads((folder / network_file.CARD).read_text()) | keys
    card = {key: value for key, value in card.items() if value is not None}
    (folder / network_file.CARD).write_text(json.dumps(card))


@pytest.mark.parametrize("keys", [{"sample": None}, {"seed": "0"}, {"sample": 1}, {"sample": {"use": "one-steep"}}])
def test_a_network_without_a_sampler_is_no_student(tmp_path: Path, keys: dict) -> None:
    saved(tmp_path)
    edited(tmp_path, **keys)
    with pytest.raises(InputError, match=r"student\.json: "):
        distillkit.load(tmp_path)


@pytest.mark.parametrize("sample", [
    {"use": "heun", "steps": 10**9}, {"use": "heun", "steps": 4097},
    {"use": "few-step", "sigmas": list(range(5000, 0, -1))},
])  # fmt: skip
def test_a_sampler_that_would_never_end_is_refused(tmp_path: Path, sample: dict) -> None:
    saved(tmp_path)
    edited(tmp_path, sample=sample)
    with pytest.raises((InputError, UsageError), match=r"must be <= 4096: |at most 4096: 5000"):
        distillkit.load(tmp_path)


def test_a_sampler_of_others_makes_ten_thousand_calls_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    monkeypatch.setattr("distillkit.builtin.one_step.OneStep.nfe", 10_001)
    with pytest.raises(InputError, match="asks for 10001 network calls per image, at most 10000"):
        distillkit.load(tmp_path)


def test_importing_distillkit_imports_no_torch() -> None:
    code = "import distillkit, sys; assert 'torch' not in sys.modules; assert callable(distillkit.load)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        distillkit.lode  # noqa: B018
