"""A screen whose lines also go to a run's log.txt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from distillkit.show.screen import Bar, Screen


class LoggedScreen:
    """Shows everything on `screen`, and appends to `path` what stays there."""

    def __init__(self, screen: Screen, path: Path) -> None:
        self.screen, self.path = screen, path

    def __enter__(self) -> LoggedScreen:
        self.file = open(self.path, "a", buffering=1, encoding="utf-8")
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        self.screen.plan(rows)

    def stage(self, name: str) -> None:
        self.file.write(f"== {name}\n")
        self.screen.stage(name)

    def line(self, text: str) -> None:
        self.file.write(f"{text}\n")
        self.screen.line(text)

    def warn(self, text: str) -> None:
        self.file.write(f"warning: {text}\n")
        self.screen.warn(text)

    def progress(self, what: str, total: float, unit: str) -> AbstractContextManager[Bar]:
        return self.screen.progress(what, total, unit)
