"""Axes of charts: which values they show, where each lies, which are named. page.js draws by the same rules."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attrs import frozen

LOG_FROM = 100.0  # ratio of largest to smallest value from which a y axis is logarithmic
LEAST = 0.1  # of its largest value is what a y axis spans at least: a wobble of a hundredth stays small
ZERO = 0.4  # of the largest value: where the smallest is below, a y axis begins at zero
FAR = 1e100


def drawable(value: float) -> bool:
    """Whether an axis can show the value; beyond are numbers that are not finite, or will not be for long."""
    return abs(value) < FAR


@frozen
class Axis:
    """Value range low ... high, or its decimal logarithms, shown at pixels start ... stop."""

    low: float
    high: float
    start: float
    stop: float
    log: bool

    @classmethod
    def across(cls, values: Sequence[float], start: float, stop: float) -> Axis:
        """An x axis from the first value to the last."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if high - low <= max(1e-9 * max(abs(low), abs(high)), 1 / FAR):
            margin = 0.5 * abs(low) if abs(low) > 1 / FAR else 0.5
            low, high = low - margin, high + margin
        return cls(low, high, start, stop, False)

    @classmethod
    def up(cls, values: Sequence[float], start: float, stop: float, log: bool | None = None) -> Axis:
        """A y axis that makes no noise large; `log`: None where the values are to say."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if low > 1 / FAR and (high / low > LOG_FROM if log is None else log):
            low, high = math.log10(low), math.log10(high)
            margin = 0.06 * (high - low) or 0.5
            return cls(low - margin, high + margin, start, stop, True)
        least = LEAST * max(abs(low), abs(high)) or 1.0
        more = max(0.0, least - (high - low)) / 2 + 0.06 * max(high - low, least)
        bottom = 0.0 if 0 <= low <= max(ZERO * high, more) else low - more
        return cls(bottom, high + more, start, stop, False)

    def at(self, value: float) -> float:
        """The pixel; below a logarithmic axis lies its end."""
        if self.log:
            value = math.log10(value) if value > 0 else self.low
        return self.start + (max(value, self.low) - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        """Values to name."""
        if not self.log:
            return ticks(self.low, self.high)
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        digits = (1, 2, 5) if self.high - self.low < 2.2 else (1,)
        values = [digit * 10.0**decade for decade in decades for digit in digits]
        shown = [value for value in values if self.low <= math.log10(value) <= self.high]
        return shown[:: math.ceil(len(shown) / 6) or 1]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Choose round values within low ... high, 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12 - math.floor(math.log10(step))) for i in range(first, last + 1)]


def short(value: float) -> str:
    """A value as an axis names it: 0.2, 15k, 3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"
