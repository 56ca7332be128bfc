"""The processes of one machine: started with their places in the environment, watched, asked and made to leave."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field, frozen

from distillkit.launch.environment import alone
from distillkit.launch.interface import interface
from distillkit.launch.task import End, Task, cores, host_name
from distillkit.run import leash

ERRORS = ("error: ", "bug: ")  # what a line begins with that says why a command failed
PRESS_SECONDS = 10.0  # between asking a process to leave and ending it
_PORTS = range(20_000, 32_000)  # below those that systems give to outgoing connections


@frozen
class Place:
    """Where the processes of a machine stand among all."""

    first: int  # rank
    world: int  # processes on all machines
    port: int  # at which rank 0 waits for the others
    attempt: int = 0
    address: str = ""  # of this machine, for the others; "": there are no others


@define
class Workers:
    """Those that run, by rank. Each has a session of its own: a terminal's Ctrl-C reaches the launcher alone."""

    task: Task
    place: Place
    logs: Path  # folder for what others than rank 0 write
    running: dict[int, subprocess.Popen[bytes]] = field(factory=dict)
    leave_at: float | None = None  # time after which they are made to leave
    _asked: bool = False

    def start(self) -> Workers:
        for local in range(self.task.nproc):
            self.running[self.place.first + local] = self._start(self.place.first + local, local)
        return self

    def _start(self, rank: int, local: int) -> subprocess.Popen[bytes]:
        place, task = self.place, self.task
        environment = alone(os.environ) | leash.environment() | {
            "RANK": str(rank), "LOCAL_RANK": str(local), "WORLD_SIZE": str(place.world),
            "LOCAL_WORLD_SIZE": str(task.nproc), "GROUP_RANK": str(task.node), "GROUP_WORLD_SIZE": str(task.nnodes),
            "MASTER_ADDR": task.master[0], "MASTER_PORT": str(place.port),
            "TORCHELASTIC_RESTART_COUNT": str(place.attempt), "TORCHELASTIC_MAX_RESTARTS": str(task.restarts),
            "DISTILLKIT_TIMEOUT": f"{task.timeout:g}",
        }  # fmt: skip
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // task.nproc)))
        environment.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # C++ frames are for nobody: we say what happened
        if name := interface(place.address):  # the name of a host may stand for 127.0.1.1
            environment.setdefault("GLOO_SOCKET_IFNAME", name)
        environment |= task.environment
        if rank == 0:
            return self._popen(environment, None)
        with open(self._log(rank), "ab") as log:
            return self._popen(environment, log.fileno())

    def _popen(self, environment: dict[str, str], log: int | None) -> subprocess.Popen[bytes]:
        """It ends with us, also where we are killed: the pipe to it closes then."""
        return subprocess.Popen(
            self.task.command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        )

    def _log(self, rank: int) -> Path:
        return self.logs / f"rank-{rank}.log"

    def poll(self) -> Iterator[End]:
        """Those that have ended since; and press those that should have."""
        for rank, process in list(self.running.items()):
            if process.poll() is not None:
                del self.running[rank]
                if process.stdin is not None:
                    process.stdin.close()
                yield End(rank, host_name(), process.returncode, self._reason(rank), pressed=self._asked)
        if self.leave_at is not None and time.monotonic() > self.leave_at:
            (self.kill if self._asked else self.send)()
            self._asked, self.leave_at = True, time.monotonic() + PRESS_SECONDS

    def leave_within(self, seconds: float) -> None:
        """Give them so long; one who asked before is not outdone by a later one."""
        until = time.monotonic() + seconds
        self.leave_at = until if self.leave_at is None else min(self.leave_at, until)

    def send(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to all that asks them to save and leave."""
        for process in self.running.values():
            leash.ask(process, number)

    def kill(self) -> None:
        """End all of them now."""
        for process in self.running.values():
            process.kill()

    def end(self) -> None:
        """End what still runs: something went wrong here."""
        self.kill()
        for process in self.running.values():
            process.wait()

    def _reason(self, rank: int) -> str:
        """The newest line of its log that is an error; "" where there is none, and of rank 0, which people see."""
        if rank == 0:
            return ""
        try:
            lines = self._log(rank).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        errors = (line.removeprefix("error: ") for line in reversed(lines) if line.startswith(ERRORS))
        return next(errors, "")[:500]


def free_port() -> int:
    """A port that nobody has now."""
    while True:
        with socket.socket() as tried:
            port = random.choice(_PORTS)
            try:
                tried.bind(("", port))
            except OSError:
                continue
            return port
