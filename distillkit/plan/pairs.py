"""Two ways to do the same, timed in alternating pairs: whatever else the machine does meets both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from attrs import frozen

Clock = Callable[[], float]


@frozen
class Ratio:
    """Time of one over time of the other: of their medians, with its 95 % interval, over so many pairs."""

    median: float
    low: float
    high: float
    pairs: int

    @property
    def wins(self) -> bool:
        """Whether it is faster beyond what the machine makes of it by chance."""
        return self.high < 1


def alternating(
    one: Callable[[], None], other: Callable[[], None], pairs: int, seconds: float = float("inf"), least: int = 5,
    clock: Clock = time.perf_counter,
) -> list[tuple[float, float]]:  # fmt: skip
    """Seconds of both, pair by pair, each first in every other pair: `pairs`, fewer after so many seconds."""
    found: list[tuple[float, float]] = []
    start = clock()
    while len(found) < pairs and (len(found) < least or clock() - start < seconds):
        took = [0.0, 0.0]
        for which in (0, 1) if len(found) % 2 else (1, 0):
            before = clock()
            (one, other)[which]()
            took[which] = clock() - before
        found.append((took[0], took[1]))
    return found


def ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """First over second, the interval by drawing the pairs anew, 2000 times."""
    a, b = np.array(pairs).T
    picks = np.random.default_rng(0).integers(len(a), size=(2000, len(a)))
    low, high = np.quantile(np.median(a[picks], axis=1) / np.median(b[picks], axis=1), [0.025, 0.975])
    return Ratio(float(np.median(a) / np.median(b)), float(low), float(high), len(a))
