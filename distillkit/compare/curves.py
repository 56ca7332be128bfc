"""Metrics over training as mean and spread over seeds, and where a curve reaches a value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from attrs import frozen

from distillkit.compare.runs import Run

LAST = 3  # evaluations at the end whose mean is "the final value" that others shall reach


@frozen
class Spread:
    """Mean and sample standard deviation over n seeds."""

    mean: float
    sd: float | None  # None for one seed
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        finite = all(map(math.isfinite, values))
        sd = statistics.stdev(values) if len(values) > 1 and finite else None
        return cls(statistics.fmean(values) if finite else sum(values) / len(values), sd, len(values))


@frozen
class Point:
    """The seeds' values of one metric after so many images."""

    kimg: float
    seconds: float  # of training, mean over seeds
    value: Spread


@frozen
class Reached:
    """Where a mean curve first has a value; `exact` is False where it had it at its first evaluation."""

    kimg: float
    seconds: float
    exact: bool


def mean_curve(runs: Sequence[Run], metric: str) -> list[Point]:
    """Average the runs' metric at the evaluations that all of them made, by images seen."""
    by_nimg: dict[int, list[tuple[float, float]]] = {}
    for run in runs:
        for row in run.evaluations:
            if metric in row.metrics:
                by_nimg.setdefault(row.nimg, []).append((row.seconds, row.metrics[metric]))
    return [
        Point(nimg / 1000, statistics.fmean(s for s, _ in rows), Spread.of([value for _, value in rows]))
        for nimg, rows in sorted(by_nimg.items())
        if len(rows) == len(runs)
    ]


def final_value(curve: Sequence[Point]) -> float:
    """Average the last three points (fewer, where there are fewer); NaN of none."""
    last = [point.value.mean for point in curve[-LAST:]]
    return statistics.fmean(last) if last else math.nan


def loosened(value: float, within: float, higher: bool) -> float:
    """Make the value worse by the share `within` of its size."""
    return value - within * abs(value) if higher else value + within * abs(value)


def reached(curve: Sequence[Point], target: float, higher: bool) -> Reached | None:
    """Find the first place where the curve, straight between evaluations, is as good as `target`; None: nowhere."""
    sign = 1.0 if higher else -1.0
    before: Point | None = None
    for point in curve:
        gap = sign * (point.value.mean - target)
        if gap >= 0:
            if before is None or not math.isfinite(before.value.mean):
                return Reached(point.kimg, point.seconds, False)
            share = (target - before.value.mean) / (point.value.mean - before.value.mean)
            seconds = before.seconds + share * (point.seconds - before.seconds)
            return Reached(before.kimg + share * (point.kimg - before.kimg), seconds, True)
        before = point
    return None
