"""Where runs may run: this machine, or those of a scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from distillkit.api.component import Component
from distillkit.api.errors import UsageError


class Submitted(Protocol):
    """A command that a scheduler has taken."""

    @property
    def id(self) -> str:
        """What the scheduler calls it."""

    @property
    def log(self) -> Path:
        """Where its output goes."""

    def poll(self) -> int | None:
        """Its exit code; None before it ended. Cheap: it is asked ten times a second."""

    def terminate(self) -> None:
        """Ask it to save and leave."""

    def wait(self) -> int:
        """Wait for its end -> exit code."""


class Launch(Component):
    """Runs commands on machines of a scheduler; picked by `--on`, in no recipe."""

    kind = "launch"

    @staticmethod
    def processes(command: Sequence[str], nodes: int, gpus: int) -> list[str]:
        """The command of one of `nodes` machines: a process for each of its GPUs, one where it has none."""
        return [*command, "--nproc", str(max(1, gpus))] if gpus or nodes > 1 else [*command]

    def render(self, command: Sequence[str], nodes: int, gpus: int) -> str:
        """What a person gives to the scheduler: a text that runs `command` on `nodes` machines with `gpus` GPUs each.

        `command` is that of one process, such as ["distillkit", "run", "x.toml"]: on several it gets --nproc, and on
        several machines what tells each from the others. gpus = 0: one process on the CPU of each.
        """
        raise NotImplementedError

    def submit(self, commands: Sequence[Sequence[str]], nodes: int, gpus: int, logs: Path) -> list[Submitted]:
        """Give commands to the scheduler, as one array where it has such -> one each, in order; `logs` is a folder.

        A command that ends with 6 or 75 is to go back into the queue. Raises UsageError where only people submit.
        """
        raise UsageError(f"{type(self).__name__} only renders what another tool submits: leave out --submit")
