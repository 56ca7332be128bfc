"""Teacher and student stand in one table where they were measured alike; else it is measured again, or left out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.disk import files, manifest, typed
from distillkit.testing import tiny_recipe

METRIC = {"use": "frechet", "images": 24}
DIGITS = {"use": "digits"}
NETWORK = {"use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": []}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs` with a teacher that was measured by 24 images, its recipe, and a `home` with the features of metrics."""
    folder = tmp_path_factory.mktemp("taught")
    network = {"init": "scratch", "network": NETWORK}
    teacher = tiny_recipe(
        "edm", dataset=DIGITS, generator=network, sample={"use": "heun", "steps": 3}, evaluate=[METRIC]
    )
    (folder / "teacher.toml").write_text(teacher)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLKIT_HOME", str(folder / "home"))
        assert main(["run", str(folder / "teacher.toml"), "--runs", str(folder / "runs")]) == 0
    return folder


@pytest.fixture
def run(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Trains a student of that teacher, measured by `images` -> the student's run."""
    monkeypatch.setenv("DISTILLKIT_HOME", str(taught / "home"))
    shutil.copytree(taught / "runs", tmp_path / "runs")
    shutil.copy(taught / "teacher.toml", tmp_path)

    def trained(images: int, seed: int = 0) -> Path:
        table = {"use": "network", "from": "teacher.toml"}
        own = [{**METRIC, "images": images}]
        student = tiny_recipe(
            "sid", dataset=DIGITS, teacher_score=table, generator=None, generator_loss={"lr": 1e-3}, evaluate=own
        )
        (tmp_path / "student.toml").write_text(student)
        command = ["run", str(tmp_path / "student.toml"), "--runs", str(tmp_path / "runs"), "--seed", str(seed)]
        assert main(command) == 0
        return max((tmp_path / "runs").glob("*-student"))

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


def test_the_next_student_takes_what_was_measured_of_its_teacher(run, capsys) -> None:
    first = run(30)
    capsys.readouterr()
    second = run(30, seed=1)
    told, found = capsys.readouterr().out, scores(second)
    assert "the teacher was measured so for another student: frechet: images: '24" in told
    assert "measuring the teacher again" not in told and second != first
    assert found["teacher"] == scores(first)["teacher"] and found["metrics"] != scores(first)["metrics"]
    other = run(28, seed=1)
    assert "measuring the teacher again: frechet: images: '24" in capsys.readouterr().out
    assert scores(other)["teacher"]["metrics"] != found["teacher"]["metrics"]


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def of_something_else(path: Path) -> None:
    found = typed.json_object(path)
    files.write_checked(path, {**found, "how": {}})


def with_another_number(path: Path) -> None:
    found = json.loads(path.read_text())
    found["metrics"]["frechet/fd"] += 1
    files.write_json(path, found)


def without_numbers(path: Path) -> None:
    found = typed.json_object(path)
    files.write_checked(path, {**found, "metrics": {"frechet/fd": "low"}})


@pytest.mark.parametrize("changed", [damaged, of_something_else, with_another_number, without_numbers])
def test_what_was_kept_of_it_is_measured_anew_where_it_cannot_be_read(run, capsys, changed: Callable) -> None:
    first = run(30)
    (kept,) = (first.parent / "0001-teacher/measured").iterdir()
    whole = kept.read_bytes()
    changed(kept)
    capsys.readouterr()
    second = run(30, seed=1)
    told = " ".join("".join(capsys.readouterr()).split())
    assert "is measured anew" in told and "measuring the teacher again" in told
    assert scores(second)["teacher"] == scores(first)["teacher"] and kept.read_bytes() == whole


def test_a_teacher_in_somebody_elses_folder_is_measured_each_time(run, capsys) -> None:
    first = run(24)
    (first.parent / "0001-teacher/measured").write_text("no folder")
    again = run(30)
    told = " ".join(capsys.readouterr().out.split())
    assert "the next student measures it again: cannot write" in told and scores(again)["teacher"]["nfe"] == 5


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
