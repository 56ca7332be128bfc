"""Whether two groups of runs differ: Welch's t-test over their seeds, at 5 %, two-sided."""

from __future__ import annotations

import math

from distillkit.compare.curves import Spread

STATED = "by Welch's t-test over seeds, p < 0.05"
# The 97.5 % quantile of Student's t for 1, 2 ... 30 degrees of freedom; beyond that, of the normal distribution.
_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def differ(a: Spread, b: Spread) -> bool:
    """Tell whether the means differ beyond chance; never where either is of one seed, or not finite."""
    if a.sd is None or b.sd is None:
        return False
    errors = a.sd**2 / a.n, b.sd**2 / b.n
    if not sum(errors):
        return a.mean != b.mean
    # Satterthwaite's degrees of freedom, rounded down.
    freedom = sum(errors) ** 2 / (errors[0] ** 2 / (a.n - 1) + errors[1] ** 2 / (b.n - 1))
    place = math.floor(freedom) - 1
    quantile = _QUANTILES[place] if place < len(_QUANTILES) else 1.96
    return abs(a.mean - b.mean) > quantile * math.sqrt(sum(errors))


def gain(value: Spread, base: Spread, higher: bool | None) -> float:
    """Compute by how much `value` is better than `base`, or worse (negative).

    0 where the two do not differ, or where no direction is known.
    """
    if higher is None or not differ(value, base):
        return 0.0
    return (value.mean - base.mean) * (1 if higher else -1)
