"""What a run shows while it works: what every screen can do, and the quiet screen for pipes and logs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of long work in progress."""

    def advance(self, n: float, seconds: float | None = None) -> None:
        """Count `n` more units as done, in so many seconds; None: in all that went by."""


class Screen(Protocol):
    """Everything the engine tells a person."""

    @property
    def width(self) -> int:
        """Characters that a line has room for."""

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Show the runs ahead, in order; all rows have the same keys, which head the columns."""

    def stage(self, name: str) -> None:
        """Show that a new part of the work begins."""

    def line(self, text: str) -> None:
        """Show a line that stays, such as a tick."""

    def head(self, text: str) -> None:
        """Show the names of the columns of the lines that follow."""

    def warn(self, text: str) -> None:
        """Show a line that needs attention."""

    def progress(self, what: str, total: float | None, unit: str) -> AbstractContextManager[Bar]:
        """Show that this goes on until the block ends: a bar over `total` units, or for how long; None: nobody knows.

        A bar over images has the columns of the run's lines.
        """


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Rows with the same keys as aligned lines, the keys first; [] of none."""
    if not rows:
        return []
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


class NoBar:
    """Progress that nobody watches."""

    def advance(self, n: float, seconds: float | None = None) -> None:
        pass


class QuietScreen:
    """Plain lines on stdout and warnings on stderr; no bars, no colours."""

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns  # $COLUMNS, or else 80 where stdout is no terminal

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        for text in table(rows):
            self.line(text)

    def stage(self, name: str) -> None:
        self.line(f"== {name}")

    def line(self, text: str) -> None:
        print(text, flush=True)

    def head(self, text: str) -> None:
        self.line(text)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, what: str, total: float | None, unit: str) -> Iterator[Bar]:
        yield NoBar()
