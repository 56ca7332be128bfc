"""Two starts of one recipe: one makes the run, the other waits or leaves, and deletes nothing."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.api import InputError
from distillkit.cli.main import main
from distillkit.disk import lock
from distillkit.disk.rundir import RunDir
from distillkit.registry import Catalog
from distillkit.run import claim, refuse
from distillkit.run.nodes import graph


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_loser_of_two_starts_leaves_the_run_alone(tiny: Callable[..., Path], capsys: pytest.CaptureFixture) -> None:
    recipe = tiny()
    runs = recipe.parent / "runs"
    (node,) = graph(recipe, (), Catalog.installed(), None)
    run = RunDir.create(runs, "tiny", node.fingerprint)  # a winner that has written nothing else yet
    with run.lock():
        before = files_of(run.path)
        assert main(["run", str(recipe), "--runs", str(runs)]) == 2
        assert f"{run.path} is in use by process {os.getpid()}" in capsys.readouterr().err
        assert files_of(run.path) == before
    assert [path.name for path in runs.glob("0*")] == ["0001-tiny"]


def test_a_start_that_waits_takes_what_the_other_made(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(claim, "POLL", 0.01)
    monkeypatch.setattr(refuse, "refuse", lambda *given: [])  # it takes longer than the other's rest
    recipe = tiny()
    runs = recipe.parent / "runs"
    assert main(["run", str(recipe), "--runs", str(runs)]) == 0
    run = RunDir.open(runs / "0001-tiny")
    ended = run.exit.read_bytes()
    run.exit.unlink()  # as it looks while it is in training
    entered = threading.Event()

    def other() -> None:
        with run.lock():
            entered.set()
            time.sleep(0.3)
            run.exit.write_bytes(ended)

    thread = threading.Thread(target=other)
    thread.start()
    entered.wait()
    capsys.readouterr()
    assert main(["run", str(recipe), "--runs", str(runs), "--wait"]) == 0
    thread.join()
    assert "in use by process" in capsys.readouterr().out
    assert [path.name for path in runs.glob("0*")] == ["0001-tiny"]


def test_a_new_run_that_is_refused_leaves_no_folder(tiny: Callable[..., Path]) -> None:
    recipe = tiny('[[evaluate]]\nuse = "frechet"\n')  # whose features want images of one size and classes
    runs = recipe.parent / "runs"
    assert main(["run", str(recipe), "--runs", str(runs)]) in (2, 3)
    assert list(runs.glob("[!.]*")) == []


@pytest.fixture
def left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """A run whose owner on another host did not sign off."""
    monkeypatch.setattr(lock, "PATIENCE", 0.3)
    run = RunDir.create(tmp_path, "x")
    (run.path / lock.OWNER).write_text(json.dumps({"process": 7, "host": "node3", "since": "2026"}))
    return run


def test_an_owner_on_another_host_that_lives_is_not_disturbed(left_behind: RunDir) -> None:
    touching = threading.Timer(0.1, lambda: os.utime(left_behind.path / lock.OWNER))
    touching.start()
    with (
        pytest.warns(UserWarning, match="watching"),
        pytest.raises(lock.InUse, match=r"process 7 on node3.*--take-over"),
        left_behind.lock(),
    ):
        raise AssertionError("two owners")
    touching.join()


def test_an_owner_on_another_host_without_a_sign_of_life_is_replaced(left_behind: RunDir) -> None:
    with pytest.warns(UserWarning, match="process 7 on node3") as told, left_behind.lock():
        assert lock.mine(left_behind.path)
    assert "taken for dead" in str(told[-1].message)
    assert not (left_behind.path / lock.OWNER).exists()


def test_taking_over_does_not_watch(left_behind: RunDir) -> None:
    with left_behind.lock(take_over=True):
        assert lock.mine(left_behind.path)


def test_a_moved_run_finds_its_parents_by_runs_and_trains_none_anew(
    tiny: Callable[..., Path], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tiny(name="first.toml")
    student = teacher.with_name("second.toml")
    student.write_text('schema = 1\nextends = "first.toml"\n[generator]\nfrom = "first.toml"\n')
    runs = teacher.parent / "runs"
    assert main(["run", str(student), "--runs", str(runs)]) == 0
    moved = teacher.parent / "elsewhere" / "0002-second"
    moved.parent.mkdir()
    shutil.move(runs / "0002-second", moved)
    (moved / "exit.json").unlink()
    capsys.readouterr()
    assert main(["run", "--resume", str(moved)]) == 2
    assert "no finished run of first in" in capsys.readouterr().err
    assert [path.name for path in moved.parent.glob("0*")] == ["0002-second"]
    assert main(["run", "--resume", str(moved), "--runs", str(runs)]) == 0
    shown = capsys.readouterr().out
    assert f"reuse {runs / '0001-first'}" in shown and "second" in shown and "resolved" not in shown


def test_a_run_folder_that_is_gone_is_told_at_the_next_write(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "x")
    with run.lock():
        run.check()
        run.path.rename(tmp_path / "away")
        with pytest.raises(InputError, match="is gone"):
            run.check()
        RunDir.create(tmp_path, "x")  # takes the same name
        with pytest.raises(InputError, match="is gone"):
            run.check()
