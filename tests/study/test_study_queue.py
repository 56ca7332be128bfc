"""Runs of a study as jobs of a scheduler. Its stand-in starts them here, and is slow to tell their end."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from distillkit.api import Preempted
from distillkit.builtin.local import Local
from distillkit.cli.main import main
from distillkit.run.nodes import Node
from distillkit.study import Job, queue
from distillkit.study import work as work_function
from distillkit.study.queue import Queue

# Stands in for `distillkit run NAME --set ... --runs DIR`: its recipe is NAME, its fingerprint too.
RUN = """
import json, pathlib, signal, sys, time
name, runs = sys.argv[2], pathlib.Path(sys.argv[-1])
signal.signal(signal.SIGTERM, lambda *_: ((runs / f"{name}-saved").touch(), sys.exit(75)))
(runs / f"{name}-started").touch()
if "slow" in name:
    time.sleep(30)
code = 4 if "diverges" in name else 2 if "refused" in name else 0
if code != 2:
    folder = runs / f"0001-{name}"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"fingerprint": name}))
    (folder / "exit.json").write_text(json.dumps({"code": code}))
if "lingers" in name:
    time.sleep(30)
print("error: no such data" if code == 2 else "well")
sys.exit(code)
"""


class Scheduler(Local):
    """Notes what is put into its queue together."""

    def __init__(self) -> None:
        super().__init__(Local.Config())
        self.arrays: list[list[str]] = []
        self.jobs: list = []

    def submit(self, commands, nodes, gpus, logs):
        assert (nodes, gpus) == (2, 8)
        self.arrays.append([command[3] for command in commands])
        self.jobs += (taken := super().submit(commands, 1, 0, logs))
        return taken


@pytest.fixture
def scheduler():
    made = Scheduler()
    yield made
    for one in made.jobs:
        one.running.kill()
        one.wait()


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "run.py").write_text(RUN)
    module = sys.modules[work_function.__module__]
    monkeypatch.setattr(module, "COMMAND", (sys.executable, str(tmp_path / "run.py")))
    monkeypatch.setattr(queue, "LOOK_SECONDS", 0.1)
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def job(name: str, *needs: str) -> Job:
    node = Node(None, dict(zip(needs, map(Path, needs), strict=True)), name, {})
    return Job(name, name, Path(name), (), None, needs, node, (name, 0))


def done(runs: Path, scheduler: Scheduler, *jobs: Job, at_once: int = 64) -> dict[str, str]:
    there = Queue(scheduler, 2, 8)
    return {
        one.job.name: one.state for one in work_function(jobs, runs, runs / "logs", at_once, lambda all_: None, there)
    }


def test_what_is_ready_is_submitted_together_and_what_it_needs_before(runs, scheduler) -> None:
    states = done(runs, scheduler, job("base"), job("other"), job("a", "base"), job("b", "base"))
    assert states == dict.fromkeys(("base", "other", "a", "b"), "finished")
    assert scheduler.arrays == [["base", "other"], ["a", "b"]]


def test_no_more_are_submitted_than_may_run_at_once(runs, scheduler) -> None:
    done(runs, scheduler, *map(job, "abc"), at_once=2)
    assert len(scheduler.arrays[0]) == 2 and sum(map(len, scheduler.arrays)) == 3


def test_what_fails_is_told_by_its_log_and_leaves_out_what_needs_it(runs, scheduler) -> None:
    there = Queue(scheduler, 2, 8)
    all_ = work_function([job("refused"), job("a", "refused"), job("diverges")], runs, runs / "logs", 64,
                         lambda all_: None, there)  # fmt: skip
    assert [(one.state, one.reason) for one in all_] == [
        ("failed", "exit code 2: no such data"),
        ("left out", "it builds on refused"),
        ("diverged", "exit code 4: well"),
    ]


def test_a_run_has_ended_when_its_exit_json_says_so_whatever_the_scheduler_knows(runs, scheduler) -> None:
    begun = time.monotonic()
    assert done(runs, scheduler, job("lingers")) == {"lingers": "finished"}
    assert scheduler.jobs[0].poll() is None and time.monotonic() - begun < 29


def test_a_signal_to_the_study_cancels_its_jobs(runs, scheduler) -> None:
    def interrupt() -> None:
        while not (runs / "slow-started").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Preempted, match="SIGTERM: stopped, its jobs are cancelled; the same command goes on"):
        done(runs, scheduler, job("slow"))
    assert scheduler.jobs[0].wait() == 75 and (runs / "slow-saved").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--gpus", "8"], "--with, --nodes and --gpus go with --on NAME"),
        (["--on", "slurn"], 'no launch named "slurn"'),
        (["--on", "kubeflow"], "Kubeflow only renders what another tool submits"),
    ],
)
def test_a_scheduler_that_cannot_be_is_one_line(tmp_path, capsys, given, told) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "gaussians_sid.toml"
    study = tmp_path / "s.toml"
    study.write_text(f'schema = 1\nname = "s"\nseeds = [0]\n[[cell]]\nrecipe = {json.dumps(str(recipe))}\n')
    assert main(["study", str(study), "--runs", str(tmp_path / "runs"), *given]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
