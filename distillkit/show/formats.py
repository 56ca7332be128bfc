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


def measured(value: float, sd: float | None) -> str:
    """A value with no more digits than its spread, of which there are two, knows: 0.0646 +- 0.0055."""
    if not sd:
        return number(value)
    if not (math.isfinite(value) and math.isfinite(sd) and sd > 0):
        return with_spread(value, sd)
    decimals = max(0, 1 - math.floor(math.log10(sd)))
    if decimals > 6 or abs(value) >= 1e6:
        return with_spread(value, sd)
    return f"{value:.{decimals}f} \N{PLUS-MINUS SIGN} {sd:.{decimals}f}"


def fitted(value: float, width: int) -> str:
    """A number with four significant digits, zeros too, or as many as `width` characters hold: 1.650, -0.001, 1e-05."""
    whole = isinstance(value, int)
    texts = [
        str(value) if whole else f"{value:#.4g}".removesuffix("."),
        number(value),
        *(f"{value:.{digits}g}" for digits in (3, 2, 1)),
    ]
    return next((text for text in texts if len(text) <= width), texts[-1])


def short(name: str, width: int) -> str:
    """A name, or as much of it as `width` characters hold, with a period for the rest: discrim."""
    return name if len(name) <= width else f"{name[: width - 1]}."


def images(nimg: float, total: float) -> str:
    """Thousands of images of `total`, all with as many decimals: 25.6, 0.448."""
    decimals = max(0, 4 - len(str(int(total / 1000))))
    return f"{nimg / 1000:.{decimals}f}"


def clock(seconds: float) -> str:
    """A time in at most seven characters: 0:08, 3:05, 1:02:03, 12h 30m, 4d 04h."""
    if not math.isfinite(seconds):
        return str(seconds)
    s = max(0, round(seconds))
    minutes, hours, days = s // 60, s // 3600, s // 86400
    if days:
        return f"{days}d {hours % 24:02d}h"
    if hours >= 10:
        return f"{hours}h {minutes % 60:02d}m"
    return f"{hours}:{minutes % 60:02d}:{s % 60:02d}" if hours else f"{minutes}:{s % 60:02d}"


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
