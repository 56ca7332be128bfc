"""Whether a student's numbers show that it memorises: by two rules, where what they need was measured."""

from __future__ import annotations

from distillkit.disk.results import Row, Scores

SIGNS = "signs of memorising"
NEAR = "near_train"  # a metric of this name is the share of images nearer to a training image than unseen ones are
SHARE = 4.0  # standard deviations of that share above the real images'
DISTANCE = 2.0  # standard deviations of a floor below it


def told(scores: Scores) -> str:
    """ "signs of memorising", "no sign of memorising", or that nobody measured it."""
    rows = [row for row in scores.rows() if row.student is not None]
    near = [row for row in rows if row.name.partition("/")[2] == NEAR and None not in (row.floor, row.floor_sd)]
    if any(map(_near, near)) or any(_below(row) for row in rows if scores.better.get(row.name) == "lower"):
        return SIGNS
    return "no sign of memorising" if near else "memorising was not measured"


def _near(row: Row) -> bool:
    """More images near to training images than real ones are."""
    assert row.student is not None and row.floor is not None and row.floor_sd is not None
    return row.student > row.floor + SHARE * row.floor_sd


def _below(row: Row) -> bool:
    """A distance that real images do not reach."""
    if row.student is None or row.floor is None or row.floor_sd is None:
        return False
    return row.student < row.floor - DISTANCE * row.floor_sd
