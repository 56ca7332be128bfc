"""Numbers and times as people read them; the same on the terminal, in the log and in the report."""

from __future__ import annotations

import math
from collections.abc import Mapping

FLOORS = "floor, ceiling"  # what the numbers of real images are called beside those of generated ones


def number(value: float) -> str:
    """Write a value with four significant digits, without exponent where that is short: 0.01234, 98765, 1.2e-05."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if value == int(value) and size < 1e6:
        return str(int(value))
    if 1e4 <= size < 1e6:
        return f"{value:.0f}"
    return f"{value:.4g}"


def with_spread(value: float, sd: float | None) -> str:
    """0.1234 +- 0.0056; without `sd` the number alone."""
    return number(value) + (f" \N{PLUS-MINUS SIGN} {sd:.2g}" if sd is not None else "")


def numbers(fields: Mapping[str, float]) -> str:
    """Write named values on one line, without the "loss/" of their names."""
    return "  ".join(f"{name.removeprefix('loss/')} {number(value)}" for name, value in fields.items())


def duration(seconds: float) -> str:
    """Write seconds in two units at most: 42 s, 3 min 05 s, 2 h 10 min, 1 d 4 h."""
    if not math.isfinite(seconds):
        return str(seconds)
    s = max(0, round(seconds))
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 86400} d {s % 86400 // 3600} h"


def kimg(nimg: float) -> str:
    """Write images in thousands, with no more digits than needed: 12, 12.5, 0.064."""
    return f"{nimg / 1000:.6g}"


def rate(value: float) -> str:
    """Write things per second with three digits: 0.52, 5.21, 52.1, 521, 5210."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
