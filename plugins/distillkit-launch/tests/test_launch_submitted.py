"""Jobs of submitit, by its executor that starts processes here."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distillkit.api import Launch, UsageError
from distillkit.recipe import choice_from_table
from distillkit.testing.toys import catalog

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs distillkit-launch[slurm]"),
]
CODE = "import sys, pathlib; print('hello'); pathlib.Path(sys.argv[1]).touch(); sys.exit(int(sys.argv[2]))"
WAITS = """
import signal, sys, pathlib, time
from distillkit.run import leash
leash.obey()
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1] + "-saved").touch(), sys.exit(75)))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def slurm(**keys: object) -> Launch:
    table = {"use": "slurm", "executor": "local", **keys}
    made = choice_from_table("launch", table, catalog(), where="test").build()
    assert isinstance(made, Launch)
    return made


def test_each_job_of_an_array_runs_its_command_and_tells_its_exit_code(tmp_path: Path) -> None:
    commands = [[sys.executable, "-c", CODE, str(tmp_path / f"ran-{code}"), str(code)] for code in (0, 4, 75)]
    jobs = slurm().submit(commands, 1, 0, tmp_path / "logs")
    assert [job.wait() for job in jobs] == [0, 4, 75]
    assert [job.poll() for job in jobs] == [0, 4, 75]
    assert [(tmp_path / f"ran-{code}").exists() for code in (0, 4, 75)] == [True] * 3
    assert "hello" in jobs[0].log.read_text() and len({job.id for job in jobs}) == 3


@pytest.fixture
def heard() -> Iterator[None]:
    """submitit ends its local jobs by SIGINT, to which a shell starts its background jobs deaf."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard")
def test_a_job_that_is_taken_out_of_the_queue_saves_and_has_an_exit_code(tmp_path: Path) -> None:
    (job,) = slurm().submit([[sys.executable, "-c", WAITS, str(tmp_path / "ran")]], 1, 0, tmp_path / "logs")
    appears(tmp_path / "ran")
    assert job.poll() is None
    job.terminate()
    assert job.wait() in (75, 143)
    appears(tmp_path / "ran-saved")  # it left nothing running


def appears(path: Path) -> None:
    until = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.1)


def test_without_slurm_the_way_out_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"submitit: .*srun"):
        slurm(executor="slurm").submit([["true"]], 1, 0, tmp_path / "logs")


def test_without_submitit_the_way_out_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'distillkit-launch\[slurm\]'"):
        slurm().submit([["true"]], 1, 0, tmp_path / "logs")


@pytest.mark.parametrize(
    ("code", "state", "again"), [(6, "RUNNING", True), (75, "COMPLETING", False), (0, "RUNNING", False)]
)
def test_a_job_of_slurm_that_lost_a_process_goes_back_into_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, state: str, again: bool
) -> None:
    """With stand-ins for what SLURM brings; what goes back has no exit code yet."""
    from distillkit_launch.queue import Work

    for name, does in {"squeue": f"echo {state}", "scontrol": f'echo "$@" > {tmp_path / "told"}'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in {"SLURM_JOB_ID": "11", "SLURM_ARRAY_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert Work(["sh", "-c", f"exit {code}"], tmp_path / "noted")() == code
    finally:
        signal.signal(signal.SIGTERM, before)
    told = tmp_path / "told"
    assert (told.exists(), (tmp_path / "noted").exists()) == (again, not again)
    assert not again or told.read_text() == "requeue 10_3\n"
