"""Runs jobs as processes of `distillkit run`, some at once, each with a log of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field

from distillkit.api import Preempted, Submitted
from distillkit.disk import rundir
from distillkit.disk.rundir import RunDir
from distillkit.launch import alone
from distillkit.run import inputs, leash, lookup
from distillkit.run.signals import StopRequest
from distillkit.show import formats
from distillkit.study.jobs import Job
from distillkit.study.queue import Queue

COMMAND = (sys.executable, "-m", "distillkit")
POLL_SECONDS = 0.1
ERRORS = ("error: ", "bug: ")  # what a line begins with that says why a command failed
DONE = ("finished", "reused", "not needed")
Process = subprocess.Popen[bytes]


@define(eq=False)
class Progress:
    """One job and how far it is."""

    job: Job
    log: Path
    state: str = "waiting"  # running, finished, reused, not needed, diverged, collapsed, failed, left out
    reason: str = ""
    started: float = 0.0
    seconds: float = 0.0
    process: Process | Submitted | None = field(default=None, repr=False)

    @property
    def bad(self) -> bool:
        return self.state in ("diverged", "collapsed", "failed", "left out")

    @property
    def last_line(self) -> str:
        """The newest line of the log that says something."""
        return next((line.strip() for line in reversed(self._lines()) if line.strip()), "")

    @property
    def why(self) -> str:
        """The newest line of the log that is an error; where none is, the newest that says something."""
        errors = (line.removeprefix("error: ") for line in reversed(self._lines()) if line.startswith(ERRORS))
        return next(errors, self.last_line)

    def _lines(self) -> list[str]:
        try:
            return self.log.read_text(errors="replace").splitlines()[-50:]
        except OSError:
            return []


def work(
    jobs: Sequence[Job], runs: Path, logs: Path, at_once: int, show: Callable[[Sequence[Progress]], None],
    queue: Queue | None = None,
) -> list[Progress]:  # fmt: skip
    """Do all jobs, what is finished or diverged aside; a job that fails takes only those with it that need it.

    They are processes here, or jobs of `queue`.
    `show` is called about ten times a second. Raises Preempted after a signal, when all processes have saved.
    """
    all_ = look(jobs, runs, logs)
    logs.mkdir(parents=True, exist_ok=True)
    with StopRequest() as stop:
        try:
            while any(one.state in ("waiting", "running") for one in all_):
                _advance(all_, runs, logs, at_once, queue)
                show(all_)
                if stop.requested:
                    saved = "every run has saved" if queue is None else "its jobs are cancelled"
                    raise Preempted(f"{stop.requested}: stopped, {saved}; the same command goes on")
                time.sleep(POLL_SECONDS)
        finally:
            _stop(all_)
    return all_


def look(jobs: Sequence[Job], runs: Path, logs: Path) -> list[Progress]:
    """Find what earlier sessions have done, and what nobody waits for; all else is waiting."""
    all_ = [Progress(job, logs / f"{i:03d}-{_slug(job.name)}.log") for i, job in enumerate(jobs)]
    known = found(jobs, runs)
    for one in all_:
        run = known.get(one.job.fingerprint)
        status = run.status() if run is not None else ""
        if run is not None and status == "collapsed" and one.job.collapsed:
            one.state, one.reason = "reused", f"collapsed: {run.signs()}"
        elif status == "finished":
            one.state = "reused"
        elif run is not None and status in ("diverged", "collapsed"):
            one.state, one.reason = status, f"in an earlier session: {run.path}"
    for one in reversed(all_):  # what others build on comes first
        waited_for = any(one.job.fingerprint in other.job.needs and other.state == "waiting" for other in all_)
        if one.state == "waiting" and one.job.cell is None and not waited_for:
            one.state = "not needed"
    return all_


def found(jobs: Sequence[Job], runs: Path) -> dict[str, RunDir]:
    """Find the run of each job, by fingerprint: one that read what is there now, finished if there is such a one."""
    known = rundir.known(runs, any(job.collapsed for job in jobs))
    newest, anew = dict[str, RunDir](), set[str]()
    for job in jobs:  # those that others build on come first
        pairs = zip(job.node.sources, job.needs, strict=True)
        parents = {table: newest[need].path for table, need in pairs if need in newest}
        candidates = [run for run, _ in lookup.runs_of(job.node, known)]
        same = [run for run in candidates if not inputs.changes(run, job.node.recipe, parents)]
        if same and not anew & {*job.needs}:
            newest[job.fingerprint] = same[0]
        elif candidates:
            anew.add(job.fingerprint)
    return newest


def _advance(all_: Sequence[Progress], runs: Path, logs: Path, at_once: int, queue: Queue | None) -> None:
    """Note what ended, give up what cannot start any more, start what can."""
    for one in all_:
        code = _code(one, runs, queue)
        if code is not None:
            _note_end(one, code, runs)
    state, ready = {one.job.fingerprint: one for one in all_}, list[Progress]()
    for one in all_:
        needs = [state[fingerprint] for fingerprint in one.job.needs]
        if one.state != "waiting":
            continue
        broken = next((need for need in needs if need.bad), None)
        if broken is not None:
            one.state, one.reason = "left out", f"it builds on {broken.job.name}"
        elif all(need.state in DONE for need in needs):
            ready.append(one)
    ready = ready[: at_once - sum(one.process is not None for one in all_)]
    if queue is None:
        for one in ready:
            _start(one, runs)
    elif ready:
        commands = [[*COMMAND, *one.job.arguments(runs.absolute())] for one in ready]
        for one, job in zip(ready, queue.submit(commands, logs), strict=True):
            one.process, one.log, one.state, one.started = job, job.log, "running", time.monotonic()


def _code(one: Progress, runs: Path, queue: Queue | None) -> int | None:
    """Exit code of what has ended since."""
    if one.process is None:
        return None
    if queue is None or isinstance(one.process, subprocess.Popen):
        return one.process.poll()
    return queue.code(one.job.fingerprint, one.process, runs)


def _start(one: Progress, runs: Path) -> None:
    """Start the process: one thread, so that several do not fight for cores; a group of its own, so that we stop it.

    It ends with us, also where we are killed: the pipe to it closes then.
    """
    command = [*COMMAND, *one.job.arguments(runs)]
    environment = alone(os.environ) | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"} | leash.environment()
    with open(one.log, "wb") as log:
        one.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    one.state, one.started = "running", time.monotonic()


def _note_end(one: Progress, code: int, runs: Path) -> None:
    if isinstance(one.process, subprocess.Popen) and one.process.stdin is not None:
        one.process.stdin.close()
    one.process, one.seconds = None, time.monotonic() - one.started
    one.state = {0: "finished", 4: "diverged"}.get(code, "failed")
    one.reason = "" if code == 0 else f"exit code {code}: {one.why}"
    made = rundir.known(runs).get(one.job.fingerprint) if code == 0 else None
    if made and made[0][1] == "collapsed":
        signs = made[0][0].signs()
        one.state, one.reason = ("finished", f"collapsed: {signs}") if one.job.collapsed else ("collapsed", signs)


def _stop(all_: Sequence[Progress]) -> None:
    """Ask the processes to save and leave, and wait for them; jobs of a queue are cancelled, which takes its time."""
    running = [one.process for one in all_ if one.process is not None]
    for process in running:
        if isinstance(process, subprocess.Popen):
            leash.ask(process)
        else:
            process.terminate()
    for process in running:
        if isinstance(process, subprocess.Popen):
            process.wait()


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80]


def took(one: Progress) -> str:
    """Write how long the process has run, as people read it; "" for what never started."""
    seconds = time.monotonic() - one.started if one.state == "running" else one.seconds
    return formats.duration(seconds) if one.started else ""
