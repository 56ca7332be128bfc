"""`distillkit eval` of a student that has no run beside it: from the Hub, exported, or one that comes along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.testing import tiny_recipe

FEW = ["--set", "evaluate.0.images=60"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))


def numbers(folder: Path) -> dict:
    (file,) = folder.glob("eval-*.json")
    return json.loads(file.read_text())["metrics"]


def test_a_folder_is_measured_by_the_recipe_of_its_card_to_the_same_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "digits/sid2a_el", "--to", "safetensors", "out"]) == 0
    assert main(["eval", "out", *FEW]) == 0
    told = capsys.readouterr().out
    assert "measured as digits_sid2a_el says, without its teacher" in told and "frechet/fd" in told
    assert main(["eval", "digits/sid2a_el", *FEW]) == 0  # nothing is written into the package
    assert numbers(Path("out")) == numbers(Path()) and numbers(Path())["frechet/label_agreement"] > 0.5
    assert main(["export", "out", "--to", "safetensors", "again"]) == 0  # the hashes agree still


def test_without_a_recipe_or_with_one_of_other_images_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "digits/sid", "--to", "safetensors", "out"]) == 0
    card = json.loads(Path("out/student.json").read_text())
    Path("out/manifest.json").unlink()
    Path("out/student.json").write_text(json.dumps({**card, "recipe": "nobodys"}))
    capsys.readouterr()
    assert main(["eval", "out"]) == 2
    assert capsys.readouterr().err == "error: out has no run beside it: --recipe RECIPE says what to measure\n"
    Path("points.toml").write_text(tiny_recipe("sid", teacher_score={"use": "gaussian-mixture"}))
    assert main(["eval", "out", "--recipe", "points.toml"]) == 2
    assert "the network is for 1 channels, 8 px" in capsys.readouterr().err
    assert not list(Path("out").glob("eval-*"))
