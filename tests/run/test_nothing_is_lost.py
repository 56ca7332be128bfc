"""A listener that leaves, a disk that is full, a home that cannot be written: the run goes on, to the same bits."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.rundir import RunDir
from distillkit.run.logged import LoggedScreen
from distillkit.run.loggers import Loggers
from distillkit.run.signals import StopRequest
from distillkit.run.training import Training
from distillkit.show.screen import QuietScreen
from distillkit.show.ticks import Ticks
from distillkit.train import threads
from distillkit.train.state import State

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def go(recipe: Path, runs: str = "runs", *more: str) -> int:
    return main(["run", str(recipe), "--runs", str(recipe.parent / runs), *more])


def weights(recipe: Path, runs: str = "runs") -> bytes:
    return (recipe.parent / runs / "0001-tiny" / "result" / "student.safetensors").read_bytes()


@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "x"), FULL, ValueError("closed")])
def test_a_lost_screen_stops_nothing(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    recipe = tiny()
    assert go(recipe, "whole") == 0
    lines = 0

    def line(self: QuietScreen, text: str) -> None:
        nonlocal lines
        lines += 1
        if lines > 3:
            raise error

    monkeypatch.setattr(QuietScreen, "line", line)
    assert go(recipe) == 0
    assert lines == 4 and weights(recipe) == weights(recipe, "whole")
    assert "done in" not in (log := (recipe.parent / "runs/0001-tiny/log.txt").read_text()) and "\n0.160  " in log


def test_a_reader_that_leaves_sees_a_run_that_ends_well(tiny: Callable[..., Path]) -> None:
    recipe = tiny()
    command = [sys.executable, "-m", "distillkit", "run", str(recipe), "--runs", str(recipe.parent / "runs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(120) == 0
    assert RunDir.open(recipe.parent / "runs/0001-tiny").status() == "finished"


def test_rows_and_lines_for_whom_there_is_no_room_are_written_later(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    recipe = tiny()
    assert go(recipe, "whole") == 0
    real, calls = MetricsLog.append, 0

    def append(self: MetricsLog, row: dict) -> None:
        nonlocal calls
        calls += 1
        if calls in (2, 3):
            with self._explained():
                raise FULL
        real(self, row)

    monkeypatch.setattr(MetricsLog, "append", append)
    assert go(recipe) == 0
    assert "the run goes on and tries again" in capsys.readouterr().err
    rows, whole = (MetricsLog(recipe.parent / runs / "0001-tiny/metrics.jsonl").read() for runs in ("runs", "whole"))
    assert [row["nimg"] for row in rows] == [row["nimg"] for row in whole]


def test_a_home_that_cannot_be_written_is_told_and_done_without(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("DISTILLKIT_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/nohome")
    assert go(tiny()) == 0
    assert "/proc/nohome/.cache/distillkit cannot be written" in capsys.readouterr().err
    main(["doctor"])
    assert "cannot be made or written" in capsys.readouterr().out


def test_the_number_of_threads_is_measured_once(tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny()
    recipe.write_text(recipe.read_text().replace("threads = 1\n", ""))
    monkeypatch.setattr(threads, "choose", lambda: 1)
    assert go(recipe) == 0
    run = RunDir.open(recipe.parent / "runs/0001-tiny")
    assert run.info["threads"] == 1
    run.exit.unlink()
    monkeypatch.setattr(threads, "choose", lambda: pytest.fail("measured again"))
    assert go(recipe) == 0


def test_what_a_killed_start_left_goes(tiny: Callable[..., Path]) -> None:
    recipe = tiny()
    (recipe.parent / "runs/.new-0001/samples").mkdir(parents=True)
    assert go(recipe) == 0
    assert sorted(path.name for path in (recipe.parent / "runs").iterdir()) == [".starting", "0001-tiny"]


def test_absurd_numbers_of_threads_are_refused_at_check(
    tiny: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    assert main(["check", str(tiny()), "--set", "run.threads=100000000"]) == 2
    assert "run.threads  at most" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("minutes", "seconds", "saving", "due"), [(1, 61, 0, True), (2, 61, 0, False), (1, 61, 2, False)]
)
def test_a_checkpoint_is_due_by_the_clock_unless_saving_takes_too_much(
    make_state: Callable[..., State], tmp_path: Path, minutes: int, seconds: float, saving: float, due: bool
) -> None:
    state = make_state(f"run.checkpoint_minutes={minutes}")
    run, screen = RunDir.create(tmp_path / "runs", "x"), QuietScreen()
    training = Training(state, run, screen, StopRequest(), Loggers((), run, screen), Ticks(screen, state.total))
    training.seconds, training.saving = seconds, saving
    assert training.overdue() is due


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_a_disk_that_fails_under_the_log_ends_the_run_with_5(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def enter(self: LoggedScreen) -> LoggedScreen:
        raise OSError(number, os.strerror(number), str(self.path))

    monkeypatch.setattr(LoggedScreen, "__enter__", enter)
    assert go(tiny()) == 5
    told = capsys.readouterr().err
    assert f"error: {os.strerror(number)}: " in told and "log.txt" in told and "bug" not in told
