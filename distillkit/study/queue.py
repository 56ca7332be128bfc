"""Runs of a study in the queue of a scheduler: submitted when they are ready, ended when their exit.json says so."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import define, field

from distillkit.api import Launch, Submitted
from distillkit.disk import rundir

LOOK_SECONDS = 5.0  # between looks at the runs' folder
ENDS = {"finished": 0, "collapsed": 0, "diverged": 4}  # exit codes of what no job goes on with


@define
class Queue:
    """A scheduler, and how much of it a run has; all its machines see the runs' folder."""

    there: Launch
    nodes: int
    gpus: int
    _looked: float = float("-inf")
    _status: Mapping[str, str] = field(factory=dict)  # by fingerprint

    def submit(self, commands: Sequence[Sequence[str]], logs: Path) -> list[Submitted]:
        """Put runs into the queue, together."""
        return self.there.submit(commands, self.nodes, self.gpus, logs)

    def code(self, fingerprint: str, job: Submitted, runs: Path) -> int | None:
        """The exit code of a run: what its exit.json says, which the scheduler may be late to see; else the job's."""
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self._status = {one: known[0][1] for one, known in rundir.known(runs).items()}
        ended = ENDS.get(self._status.get(fingerprint, ""))
        return job.poll() if ended is None else ended
