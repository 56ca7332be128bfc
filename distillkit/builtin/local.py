"""This machine, or several that a person starts by hand."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import define, frozen

from distillkit.api import Launch, Submitted


@define
class Process:
    """A command that runs here."""

    running: subprocess.Popen[bytes]
    log: Path

    @property
    def id(self) -> str:
        return str(self.running.pid)

    def poll(self) -> int | None:
        """The exit code; None before it ended."""
        return self.running.poll()

    def terminate(self) -> None:
        """Ask it to save and leave."""
        self.running.terminate()

    def wait(self) -> int:
        """Wait for its end -> exit code."""
        return self.running.wait()


class Local(Launch):
    """This machine; of several, the line for each."""

    @frozen(kw_only=True)
    class Config:
        master: str = "MACHINE-0:29400"  # of several machines: where the first waits for the others

    def render(self, command: Sequence[str], nodes: int, gpus: int) -> str:
        """A line of shell for each machine."""
        run = self.processes(command, nodes, gpus)
        if nodes == 1:
            return shlex.join(run) + "\n"
        place = ["--nnodes", str(nodes), "--master", self.config.master, "--node-rank"]
        return "".join(f"{shlex.join([*run, *place, str(k)])}  # on machine {k}\n" for k in range(nodes))

    def submit(self, commands: Sequence[Sequence[str]], nodes: int, gpus: int, logs: Path) -> list[Submitted]:
        """Start them all, which outlive this process."""
        if nodes > 1:
            return super().submit(commands, nodes, gpus, logs)
        return [self._start(self.processes(command, nodes, gpus), logs) for command in commands]

    def _start(self, command: list[str], logs: Path) -> Process:
        log = next(path for i in range(10**6) if not (path := logs / f"local-{i}.log").exists())
        nothing = subprocess.DEVNULL
        with open(log, "xb") as file:
            started = subprocess.Popen(command, stdin=nothing, stdout=file, stderr=file, start_new_session=True)
        return Process(started, log)
