"""The command: its verdict, exit code, picture and JSON, on teachers that recipes have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from distillkit.cli.main import main
from distillkit.networks.shipped import FOLDER
from distillkit.testing import tiny_recipe

MIXTURE = {"use": "gaussian-mixture"}
DIGITS = {"use": "network", "checkpoint": str(FOLDER / "digits/teacher")}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def written(**tables: object) -> str:
    Path("mine.toml").write_text(tiny_recipe("sid", **tables))
    return "mine.toml"


def test_a_teacher_in_closed_form_is_right_and_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-teacher", written(teacher_score=MIXTURE)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mine: the teacher is right\n") and max(map(len, out.splitlines())) <= 80
    with Image.open("check-teacher.png") as picture:
        assert picture.width > 100


def test_a_wrong_scale_is_told_with_what_to_change_and_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    other = MIXTURE | {"radius": 1.4, "std": 0.14}
    assert main(["check-teacher", written(teacher_score=other), "--out", "x.png"]) == 3
    out = capsys.readouterr().out
    assert out.startswith("mine: the teacher is wrong: scale\n") and "data set's times 2" in " ".join(out.split())
    assert "change    scale the data set's images" in out and Path("x.png").is_file()
    assert main(["check-teacher", "mine.toml", "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "wrong" and [one["name"] for one in told["findings"]] == ["scale"]
    assert len(told["levels"]) == 9 and told["numbers"]["trained"] == [0.0, None]


def test_a_trained_teacher_with_labels_is_right_and_guidance_is_drawn_besides(
    capsys: pytest.CaptureFixture[str],
) -> None:
    guided = DIGITS | {"guidance": {"use": "classifier-free", "scale": 2.0}}
    recipe = written(dataset={"use": "digits"}, teacher_score=guided, evaluate=None)
    assert main(["check-teacher", recipe, "--images", "32"]) == 0
    out = capsys.readouterr().out
    assert "the label that is right" in out and "last row of the picture" in out


def test_another_data_set_than_the_teachers_own_is_no_usual_mistake_and_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    written(teacher_score=MIXTURE | {"modes": 3, "radius": 0.9, "std": 0.01})
    assert main(["check-teacher", "mine.toml"]) == 3
    assert "worse than nothing" in capsys.readouterr().out


@pytest.mark.parametrize("out", [".", "x.txt", "nowhere/x.png"])
def test_a_picture_that_cannot_be_written_is_refused_first(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-teacher", written(), "--out", out]) == 2
    assert "a picture is PATH.png" in capsys.readouterr().err
