"""A screen whose lines also go to a run's log.txt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from distillkit.api import ResourceError
from distillkit.api.errors import FULL
from distillkit.api.printable import printable
from distillkit.show.screen import Bar, Screen


class LoggedScreen:
    """Shows everything on `screen`, and appends to `path` what stays there."""

    def __init__(self, screen: Screen, path: Path) -> None:
        self.screen, self.path = screen, path

    def __enter__(self) -> LoggedScreen:
        self.file = open(self.path, "ab", buffering=0)
        self.unwritten = b""  # for want of room
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def _log(self, text: str) -> None:
        """Append a line; where the disk is full it waits for the next one."""
        first = not self.unwritten
        self.unwritten += f"{printable(text)}\n".encode(errors="replace")
        try:
            self.unwritten = self.unwritten[self.file.write(self.unwritten) :]
        except OSError as error:
            if error.errno not in FULL:
                raise ResourceError(f"cannot write {self.path}: {error.strerror}") from error
            if first:
                self.screen.warn(f"cannot write {self.path}: {error.strerror}; the run goes on and tries again")

    @property
    def width(self) -> int:
        return self.screen.width

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        self.screen.plan(rows)

    def stage(self, name: str) -> None:
        self._log(f"== {name}")
        self.screen.stage(name)

    def line(self, text: str) -> None:
        self._log(text)
        self.screen.line(text)

    def head(self, text: str) -> None:
        self._log(text)
        self.screen.head(text)

    def warn(self, text: str) -> None:
        self._log(f"warning: {text}")
        self.screen.warn(text)

    def progress(self, what: str, total: float | None, unit: str) -> AbstractContextManager[Bar]:
        return self.screen.progress(what, total, unit)
