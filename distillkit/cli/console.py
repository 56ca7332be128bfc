"""The terminal as rich sees it: no colours or styles in pipes or under NO_COLOR."""

from __future__ import annotations

import os
import sys

from rich.console import Console, RenderableType


def console(*, stderr: bool = False) -> Console:
    """A console that emits escape sequences for style only on a terminal without NO_COLOR."""
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, color_system=None if plain else "auto", highlight=False, markup=False, emoji=False)


def tell(out: Console, what: RenderableType) -> None:
    """Print the outcome of work that is done and kept; that nobody can read it any more does not make it fail."""
    try:
        out.print(what)
    except (OSError, SystemExit):  # rich leaves by SystemExit where the reader has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
