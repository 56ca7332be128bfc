"""What a run shows while it works: what every screen can do, and the quiet screen for pipes and logs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of long work in progress."""

    def advance(self, n: float, **fields: float) -> None:
        """Count `n` more units as done; `fields` are the latest numbers, such as losses."""


class Screen(Protocol):
    """Everything the engine tells a person."""

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Show the runs ahead, in order; all rows have the same keys, which head the columns."""

    def stage(self, name: str) -> None:
        """Show that a new part of the work begins."""

    def line(self, text: str) -> None:
        """Show a line that stays, such as a tick."""

    def warn(self, text: str) -> None:
        """Show a line that needs attention."""

    def progress(self, what: str, total: float, unit: str) -> AbstractContextManager[Bar]:
        """Show a bar over `total` units ("img" as kimg from 1000 on) until the block ends."""


class NoBar:
    """Progress that nobody watches."""

    def advance(self, n: float, **fields: float) -> None:
        pass


class QuietScreen:
    """Plain lines on stdout and warnings on stderr; no bars, no colours."""

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        if not rows:
            return
        table = [list(rows[0]), *(list(row.values()) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            self.line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())

    def stage(self, name: str) -> None:
        self.line(f"== {name}")

    def line(self, text: str) -> None:
        print(text, flush=True)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, what: str, total: float, unit: str) -> Iterator[Bar]:
        yield NoBar()
