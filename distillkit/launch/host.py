"""The launcher of node 0: it decides when all start, when they leave, and how it ended."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from signal import Signals
from typing import Any

from attrs import define, field

from distillkit.api import Lost, UsageError
from distillkit.launch.link import Link
from distillkit.launch.task import SAVING, End, Outcome, Task, host_name, outcome, patience
from distillkit.launch.workers import Place, Workers, free_port
from distillkit.run.signals import Stopped, StopRequest

POLL_SECONDS = 0.1
GATHERING = 600.0  # seconds for all machines to come


@define
class Guest:
    """Another machine: what its launcher said of it."""

    link: Link
    node: int
    nproc: int
    host: str
    ranks: range = range(0)


def lead(task: Task) -> Outcome:
    """Run the command on all machines to its end, again after a loss as often as was asked for."""
    with StopRequest() as stop, ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="distillkit-launch-")))
        guests = _gather(task, stop, stack) if task.nnodes > 1 else []
        for attempt in range(task.restarts + 1):
            found = _Attempt(task, guests, stop, logs).run(attempt)
            if not found.again or attempt == task.restarts or any(guest.link.lost() for guest in guests):
                break
            print(f"warning: {found.line}; starting again, {attempt + 1} of {task.restarts}", file=sys.stderr)
        for guest in guests:
            guest.link.send(end=found.code, line=found.line)
        return found


@define
class _Attempt:
    """All processes, from their start to the end of the last."""

    task: Task
    guests: list[Guest]
    stop: StopRequest
    logs: Path
    ends: list[End] = field(factory=list)  # in time
    failed: bool = False
    stopped: bool = False
    gone: bool = False  # a machine is: ours notice that by themselves

    def run(self, attempt: int) -> Outcome:
        world = self.task.nproc
        for guest in self.guests:
            guest.ranks = range(world, world + guest.nproc)
            world += guest.nproc
        port = free_port()
        for guest in self.guests:
            guest.link.send(first=guest.ranks.start, world=world, port=port, attempt=attempt)
        address = self.guests[0].link.address if self.guests else ""
        workers = Workers(self.task, Place(0, world, port, attempt, address), self.logs).start()
        try:
            while len(self.ends) < world:
                self._look(workers)
                time.sleep(POLL_SECONDS)
        finally:
            workers.end()
        return outcome(self.ends, self.stopped)

    def _look(self, workers: Workers) -> None:
        """Note who ended; a signal goes on to our processes, a failure means that all others leave soon."""
        if self.stop.requested is not None and not self.stopped:
            self.stopped = True
            workers.send(Signals[self.stop.requested])
            workers.leave_within(SAVING)
        self.ends += workers.poll()
        for guest in self.guests:
            self._hear(guest, workers)
        bad = next((end for end in self.ends if end.code), None)
        if bad is not None and not self.failed:
            self.failed = True
            seconds = patience(bad.code) + (self.task.timeout if self.gone else 0.0)
            workers.leave_within(seconds)
            for guest in self.guests:
                guest.link.send(leave=seconds)

    def _hear(self, guest: Guest, workers: Workers) -> None:
        known = {end.rank for end in self.ends}
        for word in guest.link.words():
            if "ended" in word:
                self.ends.append(End(**word["ended"]))
        # A link that is down for a while may come back: as long as processes wait for each other, so do we.
        if guest.link.lost(self.task.timeout if workers.running else 0.0):
            self.gone = self.gone or guest.link.gone
            gone = f"node {guest.node} does not answer: the same command goes on"
            left = [rank for rank in guest.ranks if rank not in known | {end.rank for end in self.ends}]
            self.ends += [End(rank, guest.host, Lost.exit_code, gone) for rank in left]


def _gather(task: Task, stop: StopRequest, stack: ExitStack) -> list[Guest]:
    """Wait for the launchers of the other machines. Raises UsageError, Lost."""
    try:
        server = stack.enter_context(socket.create_server(("", task.master[1]), backlog=task.nnodes))
    except (OSError, OverflowError) as error:
        raise UsageError(f"port {task.master[1]} cannot be had here: {error}; --master names another") from error
    server.settimeout(POLL_SECONDS)
    print(f"node 0 (host {host_name()}): waiting for {task.nnodes - 1} more at {task.at}", flush=True)
    guests: dict[int, Guest] = {}
    until = time.monotonic() + GATHERING
    while len(guests) < task.nnodes - 1:
        if stop.requested is not None:
            raise Stopped(Signals[stop.requested])
        if time.monotonic() > until:
            missing = [str(node) for node in range(1, task.nnodes) if node not in guests]
            raise Lost(f"node {', '.join(missing)} did not come to {task.at} within {GATHERING:g} s")
        try:
            connection, _ = server.accept()
        except TimeoutError:
            for guest in guests.values():
                list(guest.link.words())  # a sign of life
            continue
        came = _greeted(task, Link(stack.enter_context(connection)), guests)
        if came is not None:
            guests[came.node] = came
    return [guests[node] for node in sorted(guests)]


def _greeted(task: Task, link: Link, guests: dict[int, Guest]) -> Guest | None:
    """What came in, where it is one of ours: others are sent away with a word."""
    word = _first_word(link)
    try:
        guest = Guest(link, int(word["node"]), int(word["nproc"]), str(word["host"])[:80])
        told, nnodes = guest.node, int(word["nnodes"])
    except (KeyError, TypeError, ValueError):
        link.close()  # a stranger
        return None
    if nnodes != task.nnodes:
        refused = f"node {told} was started with --nnodes {nnodes}, node 0 with {task.nnodes}"
    elif not 0 < told < task.nnodes or (told in guests and not guests[told].link.gone):
        refused = f"there is a node {told} already: give each machine another --node-rank, from 0 to {nnodes - 1}"
    elif not 0 < guest.nproc < 10_000:
        refused = f"node {told} wants {guest.nproc} processes"
    else:
        return guest
    link.send(end=UsageError.exit_code, line=refused)
    link.close()
    return None


def _first_word(link: Link) -> dict[str, Any]:
    until = time.monotonic() + 5
    while time.monotonic() < until and not link.gone:
        for word in link.words():
            if "node" in word:
                return word
        time.sleep(POLL_SECONDS)
    return {}
