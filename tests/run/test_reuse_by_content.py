"""A run is reused, or goes on, where what it read is what lies there now; else the plan says so and it runs anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from distillkit.cli.main import main
from distillkit.disk.rundir import RunDir
from distillkit.recipe import used_numerics
from distillkit.registry import Catalog
from distillkit.run import inputs, nodes
from distillkit.study import jobs, read
from distillkit.study.work import look
from distillkit.testing import tiny_recipe

DATA = {"use": "npz", "path": "data.npz", "labels": False}
SMALL = {"evaluate": None, "run": {"kimg": 0.064, "batch": 16, "tick_kimg": 0.016}}
TEACHER = tiny_recipe("edm", dataset=DATA, sample={"use": "heun", "steps": 2}, **SMALL)
STUDENT = tiny_recipe("sid", teacher_score={"use": "network", "from": "teacher.toml"}, generator=None, **SMALL)
STUDENT_ON_DATA = tiny_recipe(
    "sid", dataset=DATA, teacher_score={"use": "network", "from": "teacher.toml"}, generator=None, **SMALL
)
CHANGED = "dataset.path = 'data.npz' has changed"


def pack(seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (64, 2, 2, 1), dtype=np.uint8)
    np.savez("data.npz", images=images)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with data, a teacher of them and a student."""
    monkeypatch.chdir(tmp_path)
    pack(0)
    Path("teacher.toml").write_text(TEACHER)
    Path("student.toml").write_text(STUDENT_ON_DATA)
    return tmp_path


def runs() -> list[str]:
    return sorted(path.name for path in Path("runs").glob("0*"))


def out(capsys: pytest.CaptureFixture, *argv: str) -> str:
    assert main([*argv]) == 0
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_other_data_of_the_same_name_are_trained_on(capsys: pytest.CaptureFixture) -> None:
    out(capsys, "run", "student.toml")
    assert "reuse runs/0002-student" in out(capsys, "run", "student.toml")
    pack(1)
    for command in ("check", "plan"):
        assert CHANGED in out(capsys, command, "student.toml")
    told = out(capsys, "run", "student.toml")
    assert f"runs/0001-teacher is not reused: {CHANGED}" in told
    assert "runs/0002-student is not reused: teacher_score is trained anew" in told
    assert runs() == ["0001-teacher", "0002-student", "0003-teacher", "0004-student"]
    weights = [Path("runs", name, "result", "student.safetensors").read_bytes() for name in runs()]
    assert len(set(weights)) == 4


def test_a_run_of_before_the_bits_changed_is_told_and_made_anew(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(nodes, "used_numerics", lambda *args: dict.fromkeys(used_numerics(*args), "0.1.0"))
        out(capsys, "run", "student.toml")
    why = "an earlier release made it, and the same recipe has other bits now"
    for command in ("check", "plan", "run"):
        told = out(capsys, command, "student.toml")
        assert all(f"runs/{name} is not reused: {why}" in told for name in ("0001-teacher", "0002-student"))
        assert told.count(why) == 2
    assert runs() == ["0001-teacher", "0002-student", "0003-teacher", "0004-student"]
    assert why not in out(capsys, "run", "student.toml")


def test_the_data_of_before_find_the_run_of_before(capsys: pytest.CaptureFixture) -> None:
    for seed in (0, 1, 0):
        pack(seed)
        told = out(capsys, "run", "teacher.toml")
    assert "reuse runs/0001-teacher" in told and len(runs()) == 2


def test_data_that_are_gone_do_not_keep_a_finished_run_from_being_reused(capsys: pytest.CaptureFixture) -> None:
    out(capsys, "run", "teacher.toml")
    Path("data.npz").unlink()
    assert "reuse runs/0001-teacher" in out(capsys, "run", "teacher.toml")


def test_a_replaced_checkpoint_is_another_start(capsys: pytest.CaptureFixture) -> None:
    out(capsys, "run", "teacher.toml")
    out(capsys, "run", "teacher.toml", "--seed", "1")
    shutil.copytree("runs/0001-teacher/result", "weights")
    Path("student.toml").write_text(STUDENT_ON_DATA.replace('from = "teacher.toml"', 'checkpoint = "weights"'))
    out(capsys, "run", "student.toml")
    shutil.rmtree("weights")
    shutil.copytree("runs/0002-teacher/result", "weights")
    assert "teacher_score.checkpoint = 'weights' has changed" in out(capsys, "run", "student.toml")
    assert runs()[2:] == ["0003-student", "0004-student"]


def test_a_student_of_another_teacher_of_the_same_recipe_is_not_reused(capsys: pytest.CaptureFixture) -> None:
    """A teacher that was trained again to other bits, as on another machine."""
    out(capsys, "run", "student.toml")
    result = Path("runs/0001-teacher/result")
    shutil.copytree(result.parent, "runs/0003-teacher")
    weights = bytearray((result / "student.safetensors").read_bytes())
    weights[-1] ^= 1
    Path("runs/0003-teacher/result/student.safetensors").write_bytes(weights)
    Path("runs/0003-teacher/result/manifest.json").unlink()
    told = out(capsys, "run", "student.toml")
    assert "runs/0002-student is not reused: teacher_score is another now, of runs/0003-teacher" in told
    assert runs()[-1] == "0004-student"


def interrupted(name: str) -> Path:
    """The run as a kill after its first checkpoint leaves it."""
    run = Path("runs", name)
    (run / "exit.json").unlink()
    shutil.rmtree(run / "result")
    last = sorted((run / "checkpoints").glob("kimg-*"))[-1]
    shutil.rmtree(last)
    return run


def test_an_interrupted_run_does_not_go_on_with_other_data(capsys: pytest.CaptureFixture) -> None:
    out(capsys, "run", "teacher.toml", "--set", "run.checkpoint_kimg=0.016")
    run = interrupted("0001-teacher")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    pack(1)
    assert main(["run", "--resume", str(run)]) == 3
    assert f"{run} does not go on, since {CHANGED}" in capsys.readouterr().err
    told = out(capsys, "run", "teacher.toml")
    assert f"{run} is not reused: {CHANGED}" in told
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    pack(0)
    assert "go on with runs/0001-teacher" in out(capsys, "run", "teacher.toml")


def test_a_run_of_before_is_used_with_one_warning_and_notes_when_it_goes_on(capsys: pytest.CaptureFixture) -> None:
    out(capsys, "run", "student.toml", "--set", "run.checkpoint_kimg=0.016")
    for name in runs():
        run = RunDir.open(Path("runs", name))
        del run.info[inputs.NOTE]
        Path(run.path, "run.json").write_text(json.dumps(run.info))
    told = out(capsys, "run", "student.toml")
    assert told.count("do not tell what data they read") == 1 and "reuse runs/0002-student" in told
    interrupted("0002-student")
    out(capsys, "run", "student.toml")
    noted = RunDir.open(Path("runs/0002-student")).info[inputs.NOTE]
    assert noted.keys() == {"dataset.path", "teacher_score.from"}


def test_a_run_that_reads_no_file_needs_no_note(capsys: pytest.CaptureFixture) -> None:
    Path("points.toml").write_text(tiny_recipe("edm", sample={"use": "heun", "steps": 2}))
    out(capsys, "run", "points.toml")
    run = RunDir.open(Path("runs/0001-points"))
    del run.info[inputs.NOTE]
    Path(run.path, "run.json").write_text(json.dumps(run.info))
    assert "warning" not in out(capsys, "run", "points.toml")


def test_a_study_does_not_take_runs_of_other_data(capsys: pytest.CaptureFixture) -> None:
    Path("s.toml").write_text('schema = 1\nname = "s"\nseeds = [0]\n[[cell]]\nrecipe = "student.toml"\n')
    planned = jobs(read(Path("s.toml"), Catalog.installed()), Catalog.installed())

    def states() -> list[str]:
        return [one.state for one in look(planned, Path("runs"), Path("logs"))]

    out(capsys, "run", "student.toml")
    assert states() == ["reused", "reused"]
    pack(1)
    assert states() == ["waiting", "waiting"]
    pack(0)
    assert states() == ["reused", "reused"]


def test_the_data_are_noted_before_a_run_begins(capsys: pytest.CaptureFixture) -> None:
    """Else data that are replaced while it trains would pass for what it read."""
    out(capsys, "run", "teacher.toml")
    note = RunDir.open(Path("runs/0001-teacher")).info[inputs.NOTE]["dataset.path"]
    made = Path("runs/0001-teacher/checkpoints").stat().st_mtime_ns
    assert note["at"] == "data.npz" and int(note["stamp"].split()[1]) < made


def test_measuring_on_other_data_says_so(capsys: pytest.CaptureFixture) -> None:
    Path("teacher.toml").write_text(TEACHER + '[[evaluate]]\nuse = "frechet"\nimages = 64\n')
    assert main(["run", "teacher.toml", "--set", "evaluate.0.remove=true"]) == 0
    pack(1)
    capsys.readouterr()
    main(["eval", "runs/0001-teacher", "--recipe", "teacher.toml"])  # what it makes of such data is not asked here
    captured = capsys.readouterr()
    assert f"{CHANGED} since the run was made" in captured.out + captured.err
