"""The triptych: its rows are what the networks say, and no number of a run is another for it."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from PIL import Image

from distillkit import noise
from distillkit.cli.main import main
from distillkit.evaluate import triptych
from distillkit.seeds import inputs
from distillkit.testing import tiny_recipe, toys
from distillkit.testing.training import copied, differences, run
from distillkit.train.state import State

SID = {"use": "sid", "noise": "lognormal", "lr": 1e-2}


def toy(method: dict[str, object] | None = None, **tables: object) -> State:
    return toys.toy_state(generator_loss=method or SID, sample={"use": "one-step"}, **tables)


def test_the_rows_are_what_the_networks_say_of_one_noise() -> None:
    state = run(toy(), 3)
    fake_score = state.networks["fake_score"]
    assert triptych.critic(state) is fake_score
    found = triptych.rows(state, fake_score)
    z, labels = inputs(list(range(8)), None, state.dataset)
    assert labels is not None and labels.argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]  # classes take turns
    with torch.no_grad():
        x = state.hook.sample(state=state, z=z, labels=labels)
        assert torch.equal(found["student"], x)
        n = noise.rows("randn", state.seed, "triptych", 0, 8, state.dataset.shape)
        for sigma in (0.25, 1.0, 4.0):
            x_t = x + sigma * n
            D_real, D_fake = state.teacher.network(x_t, sigma, labels), fake_score(x_t, sigma, labels)
            assert not torch.equal(D_real, D_fake)
            torch.testing.assert_close(found[f"+ noise {sigma:g}"], x_t)
            torch.testing.assert_close(found[f"teacher, {sigma:g}"], D_real)
            torch.testing.assert_close(found[f"fake score, {sigma:g}"], D_fake)
            torch.testing.assert_close(found[f"4 x difference, {sigma:g}"], 4 * (D_real - D_fake))
    assert len(found) == 1 + 3 * 4


def test_before_the_first_update_they_do_not_differ() -> None:
    state = toy()
    found = triptych.rows(state, triptych.critic(state))
    assert not any(found[f"4 x difference, {sigma:g}"].any() for sigma in triptych.SIGMAS)


def test_the_student_is_shown_and_not_its_average() -> None:
    state = run(toy(), 3)
    with state.generating(state.ema):
        average = triptych.rows(state, triptych.critic(state))["student"]
    assert not torch.equal(triptych.rows(state, triptych.critic(state))["student"], average)


@pytest.mark.parametrize("method", [SID, {"use": "dmd"}, {"use": "diff-instruct"}], ids=lambda keys: keys["use"])
def test_a_run_that_draws_it_has_the_bits_of_one_that_does_not(method: dict[str, object]) -> None:
    plain, drawn = toy(method), toy(method)
    for _ in range(3):
        triptych.rows(drawn, triptych.critic(drawn))
        run(drawn, 1)
    assert differences(copied(drawn), copied(run(plain, 3))) == []


def test_without_labels_and_in_doubles() -> None:
    state = toy(dataset={"use": "toy", "label_dim": 0}, run={"precision": "fp64"})
    found = triptych.rows(state, triptych.critic(state))
    assert found["student"].shape == (8, 2, 8, 8)


@pytest.mark.parametrize(
    ("method", "has"),
    [("sid", True), ("dmd", True), ("dmd2", True), ("diff-instruct", True), ("ct", False), ("toy", False)],
)
def test_methods_with_a_fake_score_have_it(method: str, has: bool) -> None:
    keys = {"gan": False} if method == "dmd2" else {}
    state = toy({"use": method, **keys})
    fake_score = triptych.critic(state)
    assert (fake_score is not None) == has
    if fake_score is not None:
        assert triptych.rows(state, fake_score)["student"].isfinite().all()


def go(name: str, **tables: object) -> Path:
    keys = {"tick_kimg": 0.016, "checkpoint_kimg": 0.032}
    told = tiny_recipe(
        "sid", teacher_score={"use": "gaussian-mixture"}, run={**keys, **tables}, evaluate=None,
        generator={"optimizer": {"lr": 1e-2}}, generator_loss={"noise": "lognormal", "lr": 1e-2},
    )  # fmt: skip
    Path(f"{name}.toml").write_text(told)
    assert main(["run", f"{name}.toml", "--runs", f"runs-{name}"]) == 0
    return Path(f"runs-{name}", f"0001-{name}")


def sheets(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "samples").glob("triptych-*.png"))}


def test_it_stands_beside_every_sheet_and_on_the_page_and_can_be_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    on = go("on")
    assert list(sheets(on)) == [f"triptych-{kimg}.png" for kimg in ("000000.000", "000000.032", "000000.064")]
    assert len(list((on / "samples").glob("kimg-*.png"))) == 3
    width, height = Image.open(on / "samples" / "triptych-000000.064.png").size
    assert width == 4 * height  # points of the plane: four panels, of one noise level
    page = (on / "report.html").read_text()
    before, section = page.split(">Teacher and fake score</h2>")
    shown = re.findall(r'alt="([\d.]+) kimg: the student', section)
    assert shown == ["0.064", "0", "0.032"]  # the newest first
    assert "triptych" not in before
    off = go("off", triptych=False)
    assert sheets(off) == {} and "fake score see them" not in (off / "report.html").read_text()
    bits = [sha256((folder / "result" / "student.safetensors").read_bytes()).hexdigest() for folder in (on, off)]
    assert bits[0] == bits[1]


def test_a_run_that_goes_on_draws_the_same_and_a_longer_one_has_those_of_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = go("whole")
    before = sheets(whole)
    (whole / "exit.json").unlink()
    for name in ("triptych-000000.064.png", "kimg-000000.064.png"):
        (whole / "samples" / name).unlink()
    newest = max((whole / "checkpoints").iterdir())
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    assert main(["run", "--resume", str(whole)]) == 0
    assert sheets(whole) == before
    assert main(["run", str(whole), "--runs", "runs-whole", "--extend", "--set", "run.kimg=0.096"]) == 0
    longer = sheets(Path("runs-whole", "0002-whole"))
    assert {name: longer[name] for name in before} == before and len(longer) == 4


def test_one_that_fails_leaves_the_run_and_the_other_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(triptych, "rows", lambda *given: 1 / 0)
    folder = go("broken")
    assert sheets(folder) == {} and len(list((folder / "samples").glob("kimg-*.png"))) == 3
    assert "the triptych failed: ZeroDivisionError" in capsys.readouterr().err
