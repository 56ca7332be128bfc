"""Teacher and student stand in one table where they were measured alike; else it is measured again, or left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.disk import manifest
from distillkit.testing import tiny_recipe

METRIC = {"use": "frechet", "images": 24}
DIGITS = {"use": "digits"}
NETWORK = {"use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": []}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains a teacher that was measured by 24 images, and its student, by `images` -> the student's run."""
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))

    def trained(images: int) -> Path:
        network = {"init": "scratch", "network": NETWORK}
        teacher = tiny_recipe(
            "edm", dataset=DIGITS, generator=network, sample={"use": "heun", "steps": 3}, evaluate=[METRIC]
        )
        table = {"use": "network", "from": "teacher.toml"}
        own = [{**METRIC, "images": images}]
        student = tiny_recipe(
            "sid", dataset=DIGITS, teacher_score=table, generator=None, generator_loss={"lr": 1e-3}, evaluate=own
        )
        (tmp_path / "teacher.toml").write_text(teacher)
        (tmp_path / "student.toml").write_text(student)
        assert main(["run", str(tmp_path / "student.toml"), "--runs", str(tmp_path / "runs")]) == 0
        return tmp_path / "runs" / "0002-student"

    return trained


def scores(run: Path) -> dict:
    return json.loads((run / "result/metrics.json").read_text())


def test_a_teacher_that_was_measured_alike_is_not_measured_again(run: Callable, capsys: pytest.CaptureFixture) -> None:
    student = run(24)
    found, teacher = scores(student), scores(student.with_name("0001-teacher"))
    assert "measuring the teacher again" not in capsys.readouterr().out
    assert found["teacher"]["metrics"] == teacher["metrics"] and found["teacher"]["nfe"] == 5
    assert found["teacher"]["protocol"] == found["protocol"] == teacher["protocol"]


def test_a_teacher_that_was_measured_otherwise_is_measured_again_and_that_is_said(run, capsys) -> None:
    student = run(30)
    told = capsys.readouterr().out
    assert "measuring the teacher again: frechet: images: '24, clamped to [-1,1]', not '30, clamped to [-1,1]'" in told
    found, teacher = scores(student), scores(student.with_name("0001-teacher"))
    assert found["teacher"]["protocol"] == found["protocol"] != teacher["protocol"]
    assert found["teacher"]["metrics"]["frechet/fd"] != teacher["metrics"]["frechet/fd"]
    assert found["teacher"]["metrics"]["frechet/fd_floor"] == found["metrics"]["frechet/fd_floor"]
    assert (student / "figures/nearest.png").exists()


def test_eval_by_other_keys_leaves_the_teacher_out_with_a_line(run, capsys) -> None:
    student = run(24)
    capsys.readouterr()
    assert main(["eval", str(student)]) == 0
    shown = capsys.readouterr().out
    assert "teacher" in shown and "left out" not in shown
    assert main(["eval", str(student), "--set", "evaluate.0.images=20"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", " ").split())
    assert "frechet of the teacher is left out: images: '24, clamped" in shown and "NFE 5" not in shown


def test_a_result_that_does_not_tell_how_the_teacher_was_measured_shows_none(run, capsys) -> None:
    student = run(24)
    found = scores(student)
    del found["teacher"]["protocol"]  # as 0.1.0 wrote it
    (student / "result/metrics.json").write_text(json.dumps(found))
    manifest.seal(student / "result")
    assert main(["report", str(student)]) == 0
    page = (student / "report.html").read_text()
    assert "frechet of the teacher is left out: nothing tells how they were measured" in page
    assert "<small>NFE 5<" not in page
    capsys.readouterr()
    exported = student.parent / "exported"
    assert main(["export", str(student), "--to", "safetensors", str(exported)]) == 0
    assert "rows" not in capsys.readouterr().err, "the log of the run is whole"
    card = (exported / "README.md").read_text()
    assert "of the teacher is left out" in card and "| frechet/fd | - |" in card
