"""A student's number beside its teacher's: better, worse, within their spreads, or not to be told."""

from __future__ import annotations

import math
from typing import Literal

from distillkit.disk.results import Row

SPREADS = 2.0  # a difference of more than so many standard deviations of it is one
COARSE = 0.5  # of the teacher's number: where the spreads span more than this, nothing is called "within"

Relation = Literal["better", "worse", "within", "coarse", "no spread", ""]


def relation(row: Row, way: str | None) -> Relation:
    """How the student stands to its teacher; `way` is "lower", "higher", or what is no direction.

    "coarse": no difference is seen, and the spreads are too wide to call that "within". "no spread": one of the two
    has none. "": not both were measured, or neither way is better.
    """
    if row.student is None or row.teacher is None or way not in ("lower", "higher") or not math.isfinite(row.teacher):
        return ""
    if not math.isfinite(row.student):
        return "worse"
    spread = both(row.student_sd, row.teacher_sd)
    if spread is None:
        return "no spread"
    difference = row.student - row.teacher
    if abs(difference) > SPREADS * spread:
        return "better" if (difference < 0) == (way == "lower") else "worse"
    return "coarse" if SPREADS * spread > COARSE * abs(row.teacher) else "within"


def both(one: float | None, other: float | None) -> float | None:
    """The standard deviation of a difference; None: not known."""
    if one is None or other is None or not math.isfinite(one + other):
        return None
    return math.hypot(one, other)
