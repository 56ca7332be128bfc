"""A claim of a study: the hypothesis and the test that decides it, said before anything runs.

It is about the gain g of an arm over another, one number for each seed, above 0 where the arm is better:

    "final"    how much better the metric is at the end, in its own unit
    "images"   ln(m / n): the arm needs n images, the other m, until either first is as good as the other's final value

Both have the same seeds, so g is paired. With k looks at the data, each of which may end the study, the mean of g has
Student's interval of confidence 1 - (1 - c) / k: Bonferroni's. The claim holds where all of it is above `least`,
is refuted where none of it is, and is open otherwise: two arms that are the same gain nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from attrs import field, frozen
from attrs.validators import gt, in_, lt, matches_re, min_len, optional

TEXT = matches_re(r"[^|\n]{1,200}")
FINAL, IMAGES = "final", "images"


@frozen(kw_only=True)
class Claim:
    """[[claim]]: what an arm is said to gain over another."""

    says: str = field(validator=TEXT)  # the hypothesis, for people
    arm: str = field(validator=TEXT)  # a cell, or an option of the last axis: then it is claimed in every row
    against: str | None = field(default=None, validator=optional(TEXT))  # likewise; None: the baseline, or first option
    metric: str = field(validator=min_len(1))
    measure: str = field(default=FINAL, validator=in_((FINAL, IMAGES)))
    least: float | None = None  # gain that counts; "images": how many times fewer; None: any, 0 or 1 times
    confidence: float = field(default=0.95, validator=[gt(0.5), lt(1)])

    def __attrs_post_init__(self) -> None:
        if self.least is not None and not (math.isfinite(self.least) and (self.measure == FINAL or self.least > 0)):
            raise ValueError(f"'least' must be a number, above 0 for images, got {self.least}")

    @property
    def needed(self) -> float:
        """The least gain g."""
        if self.measure == IMAGES:
            return math.log(self.least or 1.0)
        return self.least or 0.0


@frozen
class Gain:
    """Of one seed."""

    value: float
    at_most: bool = False  # the arm never was as good, or the other was so at its first evaluation, maybe earlier
    at_least: bool = False  # the arm was so at its first evaluation


@frozen
class Interval:
    """Mean gain and where it lies."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, gains: Sequence[Gain], confidence: float) -> Interval:
        """Student's; of one seed it is everything, and without the end that a gain's bound does not give."""
        values = [gain.value for gain in gains]
        mean, n = statistics.fmean(values), len(values)
        if n < 2:
            return cls(mean, -math.inf, math.inf)
        half = student(confidence, n - 1) * statistics.stdev(values) / math.sqrt(n)
        low = -math.inf if any(gain.at_most for gain in gains) else mean - half
        high = math.inf if any(gain.at_least for gain in gains) else mean + half
        return cls(mean, low, high)

    def verdict(self, needed: float) -> str:
        return "holds" if self.low > needed else "refuted" if self.high <= needed else "open"


def student(confidence: float, n: int) -> float:
    """t with P(|T| <= t) = confidence, n degrees of freedom."""
    low, high = 0.0, math.pi / 2  # of theta = arctan(t / sqrt(n)); 60 halvings are all that a float can tell
    for _ in range(60):
        theta = (low + high) / 2
        low, high = (theta, high) if within(theta, n) < confidence else (low, theta)
    return math.tan(low) * math.sqrt(n)


def within(theta: float, n: int) -> float:
    """P(|T| <= sqrt(n) tan(theta)): the finite sums for whole n (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    sin, cos = math.sin(theta), math.cos(theta)
    term, total = (cos, 0.0) if n % 2 else (1.0, 0.0)
    for i in range(2 + n % 2, n + 1, 2):
        total += term
        term *= cos**2 * (i - 1) / i
    return 2 / math.pi * (theta + sin * total) if n % 2 else sin * total
