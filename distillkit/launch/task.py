"""What is to be started, and how one process, or all of it, ended."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence

from attrs import field, frozen

from distillkit.api import Lost

TIMEOUT = 300.0  # seconds that a process waits for another
SAVING = 600.0  # that a process may take to save and leave
LEAVING = 15.0  # ... where there is nothing to save
KNOWN = range(2, 6)  # exit codes of errors that users cause, or their machines


@frozen(kw_only=True)
class Task:
    """A command line that starts `nproc` processes on each of `nnodes` machines; this one is `node`."""

    command: Sequence[str]
    nproc: int
    nnodes: int = 1
    node: int = 0
    master: tuple[str, int] = ("127.0.0.1", 0)  # host and port of node 0
    restarts: int = 0  # after a process was lost
    timeout: float = TIMEOUT
    environment: Mapping[str, str] = field(factory=dict)  # of each process, over ours

    @property
    def at(self) -> str:
        return "{}:{}".format(*self.master)


@frozen
class End:
    """How a process ended: its exit code, less than 0 for a signal."""

    rank: int
    host: str
    code: int
    reason: str = ""  # what it said
    pressed: bool = False  # we made it leave, as another had failed

    @property
    def lost(self) -> bool:
        """Whether it says only that another was lost."""
        return self.code == Lost.exit_code

    @property
    def told(self) -> str:
        """The line that says so."""
        who = f"rank {self.rank} (host {self.host})"
        if self.code < 0:
            why = "did not answer and was ended" if self.pressed else f"was ended by {signal_name(-self.code)}"
            return f"{who} {why}: the same command goes on"
        return f"{who}: {self.reason or f'exit code {self.code}'}"


@frozen
class Outcome:
    """How all ended: the exit code of the first failure in time, and the line that says so."""

    code: int
    line: str = ""
    said: bool = False  # rank 0 has told it, whom people see
    again: bool = False  # a process was lost: another try goes on where this one was


def outcome(ends: Sequence[End], stopped: bool) -> Outcome:
    """Of all processes, in the order in which they ended; `stopped`: we had passed on a signal.

    One that says only that another was lost, or that we ended ourselves, never hides a cause.
    """
    bad = [end for end in ends if end.code and not end.pressed]
    if not bad:
        return Outcome(0)
    if stopped:  # all of them were: what came of it is for rank 0 to say, whoever left before it
        bad.sort(key=lambda end: end.rank)
    first = next((end for end in bad if not end.lost), None)
    if first is None:  # nobody but those who miss another: is it one that had to be ended?
        first = next((end for end in ends if end.pressed and end.code < 0), bad[0])
    elif first.code > 0:
        # What a rank knew before it ended it told the others, so rank 0 has said that as well.
        told = {first.code, Lost.exit_code} if first.code in KNOWN and not first.reason else {first.code}
        return Outcome(first.code, first.told, said=any(end.rank == 0 and end.code in told for end in bad))
    elif stopped:
        return Outcome(128 - first.code, f"stopped by {signal_name(-first.code)}")
    said = first.code > 0 and any(end.rank == 0 for end in bad)
    return Outcome(Lost.exit_code, first.told, said, again=not stopped)


def patience(code: int) -> float:
    """Seconds that the others have to leave by themselves after one ended so."""
    return SAVING if code in (4, 75) else LEAVING


def host_name() -> str:
    return socket.gethostname()


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
