"""`--sampler`: any network draws and is measured by a sampler that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import distillkit
from distillkit.api import Importer, InputError, UsageError
from distillkit.cli.main import main
from distillkit.networks import network_file, sampled
from distillkit.recipe import table_of
from distillkit.registry import Catalog, Offer
from distillkit.testing import tiny_recipe, toy_state


def network(folder: Path, **facts: object) -> None:
    """What `convert` leaves: a network, its card, nothing of a run."""
    network_file.save(folder, toy_state().ema, facts)


def test_a_sampler_is_a_name_and_keys_in_toml() -> None:
    assert sampled.table("heun") == {"use": "heun"}
    assert sampled.table('euler steps=50 grid="flow" sigmas=[80.0,1.0]') == {
        "use": "euler", "steps": 50, "grid": "flow", "sigmas": [80.0, 1.0],
    }  # fmt: skip
    assert sampled.table({"use": "heun", "steps": 3}) == {"use": "heun", "steps": 3}


@pytest.mark.parametrize(("asked", "told"), [
    ("heunn", 'did you mean "heun"'), ("heun stepps=2", "did you mean steps"), ("heun steps", "is not KEY=VALUE"),
    ("heun steps=0", "must be >= 1"), ("", "no sample named"), ("heun steps=2.5", "2.5"), ({}, "use"),
])  # fmt: skip
def test_what_is_no_sampler_is_refused(asked: sampled.Asked, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        sampled.choice(asked, Catalog.installed())


def test_a_network_without_a_run_draws_by_the_sampler_that_is_asked_for(tmp_path: Path) -> None:
    network(tmp_path / "net")
    with pytest.raises(InputError, match=r'names no sampler; --sampler "heun steps=18" says one'):
        distillkit.load(tmp_path / "net")
    student = distillkit.load(tmp_path / "net", sampler="euler steps=4")
    assert student.nfe == 4 and student(2).shape == (2, 2, 8, 8)
    assert torch.equal(student(2), distillkit.load(tmp_path / "net", {"use": "euler", "steps": 4})(2))
    assert student.card["sample"]["use"] == "euler" and student.card["nfe"] == 4


def test_a_student_draws_by_another_sampler_than_its_own(tmp_path: Path) -> None:
    sample = table_of(toy_state().recipe.sample)
    network(tmp_path / "net", sample=sample, seed=0)
    own, other = distillkit.load(tmp_path / "net"), distillkit.load(tmp_path / "net", sampler="heun steps=2")
    assert (own.nfe, other.nfe) == (1, 3) and not torch.equal(own(2), other(2))


def test_a_file_of_another_make_draws_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLKIT_CACHE", str(tmp_path / "cache"))
    made = toy_state().ema

    class Txt(Importer):
        def read(self, path: Path) -> tuple[dict, dict]:
            return made.card, made.state_dict()

    class Found(Offer):
        def load(self) -> type:
            return Txt

    catalog = Catalog((*Catalog.installed().offers, Found("importer", "txt", "m:C", "distillkit-txt", "1.0")))
    monkeypatch.setattr(Catalog, "installed", lambda: catalog)
    file = tmp_path / "net.txt"
    file.write_text("a network")
    with pytest.raises(InputError, match=r"net\.txt: this network names no sampler"):
        distillkit.load(file)
    assert distillkit.load(file, sampler="heun steps=2")(3).shape == (3, 2, 8, 8)


def test_sample_and_eval_take_any_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("teacher.toml").write_text(tiny_recipe("edm"))
    assert main(["run", "teacher.toml"]) == 0
    Path("net").mkdir()
    for name in ("student.safetensors", "student.json"):
        Path("net", name).write_bytes((Path("runs/0001-teacher/result") / name).read_bytes())
    card = json.loads(Path("net/student.json").read_text())
    Path("net/student.json").write_text(json.dumps({k: v for k, v in card.items() if k not in ("sample", "recipe")}))
    capsys.readouterr()
    assert main(["sample", "net", "-n", "4", "--out", "x.png"]) == 3
    assert main(["sample", "net", "-n", "4", "--out", "y.png", "--sampler", "dpm-solver steps=3"]) == 0
    assert "NFE 3" in capsys.readouterr().out
    assert main(["eval", "net", "--recipe", "teacher.toml"]) == 3
    assert main(["eval", "net", "--recipe", "teacher.toml", "--sampler", "euler steps=2"]) == 0
    (file,) = Path("net").glob("eval-*.json")
    told = json.loads(file.read_text())
    assert told["nfe"] == 2 and told["sample"] == {"use": "euler", "steps": 2} and told["metrics"]
    # A run's student by another sampler than its own: the file says so, and the run stays as it was.
    assert main(["eval", "1", "--sampler", "euler steps=2"]) == 0
    (file,) = Path("runs/0001-teacher/result").glob("eval-*.json")
    again = json.loads(file.read_text())
    assert again["metrics"] == told["metrics"] and again["nfe"] == 2
    assert main(["eval", "1", "--sampler", "euler step=2"]) == 2
