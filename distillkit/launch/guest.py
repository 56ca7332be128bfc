"""The launcher of another node: it starts what node 0 says, tells it who ended, and leaves when that is gone."""

from __future__ import annotations

import socket
import tempfile
import time
from pathlib import Path
from signal import Signals

from attrs import asdict, define, field

from distillkit.api import Lost
from distillkit.launch.host import POLL_SECONDS
from distillkit.launch.link import Link
from distillkit.launch.task import LEAVING, SAVING, End, Outcome, Task, host_name, outcome
from distillkit.launch.workers import Place, Workers
from distillkit.run.signals import Stopped, StopRequest

REACHING = 60.0  # seconds to reach node 0


def follow(task: Task) -> Outcome:
    """Do as node 0 says, to the end. Raises Lost where it cannot be reached."""
    folder = tempfile.TemporaryDirectory(prefix="distillkit-launch-")
    with StopRequest() as stop, folder as logs, _reach(task, stop) as connection:
        link = Link(connection)
        link.send(node=task.node, nnodes=task.nnodes, nproc=task.nproc, host=host_name())
        following = _Following(task, link, stop, Path(logs))
        try:
            return following.run()
        finally:
            following.workers.end()


@define
class _Following:
    """What one node does, from its first word to the last."""

    task: Task
    link: Link
    stop: StopRequest
    logs: Path
    ends: list[End] = field(factory=list)
    stopped: bool = False
    workers: Workers = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.workers = Workers(self.task, Place(0, 0, 0), self.logs)  # none yet

    def run(self) -> Outcome:
        while True:
            found = self._obey()
            if found is not None:
                return found
            for end in self.workers.poll():
                self.ends.append(end)
                self.link.send(ended=asdict(end))
            if self.stop.requested is not None and not self.stopped:
                self._pass_on(Signals[self.stop.requested])
            if self.link.lost() and not self.workers.running:
                return self._alone()
            if self.link.lost():  # ours notice by themselves, or are made to
                left = self.link.heard + self.task.timeout + LEAVING - time.monotonic()
                self.workers.leave_within(max(0.0, left))
            time.sleep(POLL_SECONDS)

    def _obey(self) -> Outcome | None:
        """Do what node 0 says -> how it all ended, once it says so."""
        for word in self.link.words():
            if "end" in word:
                return Outcome(int(word["end"]), str(word.get("line", ""))[:1000])
            if "leave" in word:
                self.workers.leave_within(float(word["leave"]))
            if "first" in word:
                first, world, port, attempt = (int(word[name]) for name in ("first", "world", "port", "attempt"))
                place = Place(first, world, port, attempt, self.link.address)
                last = first + self.task.nproc - 1
                ours = f"rank {first}" if first == last else f"ranks {first} to {last}"
                print(f"node {self.task.node}: {ours} of {world}", flush=True)
                self.ends.clear()
                self.workers = Workers(self.task, place, self.logs).start()
        return None

    def _pass_on(self, number: int) -> None:
        if not self.workers.place.world:
            raise Stopped(number)
        self.stopped = True
        self.workers.send(number)
        self.workers.leave_within(SAVING)

    def _alone(self) -> Outcome:
        """Node 0 says nothing any more, and our own have all left."""
        found = outcome(self.ends, self.stopped)
        if self.ends and found.code != Lost.exit_code and not any(end.pressed for end in self.ends):
            return found
        return Outcome(Lost.exit_code, f"node 0 ({self.task.at}) does not answer: the same command goes on")


def _reach(task: Task, stop: StopRequest) -> socket.socket:
    until = time.monotonic() + REACHING
    while time.monotonic() < until:
        if stop.requested is not None:
            raise Stopped(Signals[stop.requested])
        try:
            return socket.create_connection(task.master, timeout=max(0.1, min(5.0, until - time.monotonic())))
        except (OSError, OverflowError):
            time.sleep(0.5)  # it may come yet
    raise Lost(f"node {task.node} cannot reach {task.at} within {REACHING:g} s")
