"""The terminal as rich sees it: no colours or styles in pipes or under NO_COLOR."""

from __future__ import annotations

import os

from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A console that emits escape sequences for style only on a terminal without NO_COLOR."""
    plain = bool(os.environ.get("NO_COLOR"))
    return Console(stderr=stderr, color_system=None if plain else "auto", highlight=False, markup=False, emoji=False)
