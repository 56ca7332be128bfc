"""Processes at once, in order, resumed; a failure takes only what builds on it. The runs are stand-ins."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from attrs import evolve

from distillkit.api import Preempted
from distillkit.run.nodes import Node
from distillkit.study import Job, work
from distillkit.study import work as work_function

# Stands in for `distillkit run NAME --set ... --runs DIR`: its recipe is NAME, its fingerprint too.
RUN = """
import json, pathlib, signal, sys, time
from distillkit.run import leash
leash.obey()
name, runs = sys.argv[2], pathlib.Path(sys.argv[-1])
with open(runs / "order.txt", "a") as file:
    file.write(f"start {name}\\n")
def leave(*_):
    (runs / f"{name}-saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, leave)
if "slow" in name:
    time.sleep(30)
if "tells" in name:
    print("error: no such data")
    print("0.256 kimg frechet/fd 110")
time.sleep(0.2)
print("a line\\n")
code = 4 if "diverges" in name else 1 if "fails" in name or "tells" in name else 0
folder = runs / f"{len(list(runs.glob('0*'))) + 1:04d}-{name}"
folder.mkdir()
(folder / "run.json").write_text(json.dumps({"fingerprint": name}))
end = {"reason": "collapsed", "signs": ["one mode"]} if "collapses" in name else {}
(folder / "exit.json").write_text(json.dumps({"code": code, **end}))
with open(runs / "order.txt", "a") as file:
    file.write(f"end {name}\\n")
sys.exit(code)
"""


@pytest.fixture
def runs(tmp_path, monkeypatch):
    (tmp_path / "run.py").write_text(RUN)
    module = sys.modules[work_function.__module__]
    monkeypatch.setattr(module, "COMMAND", (sys.executable, str(tmp_path / "run.py")))
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def job(name, *needs, cell=True):
    node = Node(None, dict(zip(needs, map(Path, needs), strict=True)), name, {})
    return Job(name, name, Path(name), (), None, needs, node, (name, 0) if cell else None)


def done(runs, *jobs, at_once=1):
    states = work(jobs, runs, runs / "logs", at_once, lambda all_: None)
    return {one.job.name: one.state for one in states}


def order(runs):
    return (runs / "order.txt").read_text().split("\n")[:-1]


def test_what_others_build_on_runs_first_and_alone(runs):
    assert done(runs, job("base"), job("a", "base"), job("b", "base"), at_once=3) == dict.fromkeys(
        ("base", "a", "b"), "finished"
    )
    assert order(runs)[:2] == ["start base", "end base"]
    assert {order(runs)[2], order(runs)[3]} == {"start a", "start b"}  # at once


def test_no_more_run_at_once_than_asked_for(runs):
    done(runs, *(job(name) for name in "abc"))
    assert order(runs) == [f"{what} {name}" for name in "abc" for what in ("start", "end")]


def test_a_failure_takes_only_what_builds_on_it(runs):
    states = done(runs, job("fails"), job("child", "fails"), job("grandchild", "child"), job("other"))
    assert states == {"fails": "failed", "child": "left out", "grandchild": "left out", "other": "finished"}


def test_nothing_is_built_on_a_run_that_collapsed_and_it_is_not_run_again(runs):
    jobs = [job("collapses"), job("child", "collapses"), job("other")]
    wanted = {"collapses": "collapsed", "child": "left out", "other": "finished"}
    assert done(runs, *jobs) == wanted
    one, *_ = work(jobs, runs, runs / "logs", 1, lambda all_: None)
    assert (one.state, one.reason.startswith("in an earlier session")) == ("collapsed", True)
    assert order(runs).count("start collapses") == 1


def test_runs_that_collapsed_are_taken_as_they_are_where_that_is_asked_for(runs):
    jobs = [evolve(job(name, *needs), collapsed=True) for name, *needs in (["collapses"], ["child", "collapses"])]
    assert "--reuse-collapsed" in jobs[1].arguments(runs) and "--reuse-collapsed" not in job("a").arguments(runs)
    assert done(runs, *jobs) == {"collapses": "finished", "child": "finished"}
    one, child = work(jobs, runs, runs / "logs", 1, lambda all_: None)
    assert (one.state, one.reason, child.state) == ("reused", "collapsed: one mode", "reused")
    assert order(runs).count("start collapses") == 1


def test_what_went_wrong_is_told_with_the_last_line_of_its_log(runs):
    (one,) = work([job("fails")], runs, runs / "logs", 1, lambda all_: None)
    assert one.reason == "exit code 1: a line"
    assert one.log.read_text().startswith("a line")


def test_the_same_command_again_runs_what_is_missing_and_what_failed(runs):
    first = [job("a"), job("fails"), job("diverges")]
    assert done(runs, *first) == {"a": "finished", "fails": "failed", "diverges": "diverged"}
    (runs / "order.txt").unlink()
    states = done(runs, *first, job("new"))
    assert states == {"a": "reused", "fails": "failed", "diverges": "diverged", "new": "finished"}
    assert "start a" not in order(runs) and "start diverges" not in order(runs)


def test_what_nobody_waits_for_any_more_is_not_run(runs):
    folder = runs / "0001-child"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"fingerprint": "child"}))
    (folder / "exit.json").write_text(json.dumps({"code": 0}))
    states = done(runs, job("base", cell=False), job("child", "base"))
    assert states == {"base": "not needed", "child": "reused"}
    assert not (runs / "order.txt").exists()


def test_a_signal_lets_every_run_save_and_ends_with_the_way_on(runs):
    def send():
        while not (runs / "order.txt").exists() or len(order(runs)) < 2:
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Preempted, match="SIGTERM: stopped, every run has saved; the same command goes on"):
        done(runs, job("slow-a"), job("slow-b"), job("c"), at_once=2)
    thread.join()
    assert (runs / "slow-a-saved").exists() and (runs / "slow-b-saved").exists()
    assert "start c" not in order(runs)


def test_the_reason_is_the_line_that_is_an_error(runs):
    (one,) = work([job("tells")], runs, runs / "logs", 1, lambda all_: None)
    assert one.reason == "exit code 1: no such data"


def appears(path: Path, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not path.exists():
        time.sleep(0.05)
    return path.exists()


def test_runs_of_a_study_that_was_killed_save_and_end(runs):
    """SIGKILL leaves nobody to stop them: the pipe to each says that the other end is gone."""
    pid = os.fork()
    if pid == 0:
        try:
            done(runs, job("slow-a"), job("slow-b"), at_once=2)
        finally:
            os._exit(1)
    while not (runs / "order.txt").exists() or len(order(runs)) < 2:
        time.sleep(0.05)
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert appears(runs / "slow-a-saved") and appears(runs / "slow-b-saved")


def test_a_run_that_is_in_training_elsewhere_is_waited_for(runs):
    assert "--wait" in job("a").arguments(runs)


def test_a_run_of_a_study_that_torchrun_started_knows_nothing_of_that(runs, tmp_path, monkeypatch):
    told = tmp_path / "told"
    (tmp_path / "run.py").write_text(f"import os, json\nopen({str(told)!r}, 'w').write(json.dumps(dict(os.environ)))\n")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "1")
    done(runs, job("a"))
    seen = json.loads(told.read_text())
    assert [name for name in seen if name.startswith(("RANK", "WORLD_", "LOCAL_", "MASTER_", "TORCHELASTIC_"))] == []
    assert seen["OMP_NUM_THREADS"] == "1"
