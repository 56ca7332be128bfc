"""Claims against what was measured: gains of each seed, their interval, the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from distillkit.api import UsageError
from distillkit.compare import curves
from distillkit.compare.direction import higher_is_better
from distillkit.recipe.schema import Recipe, by_logged_name
from distillkit.study.claim import FINAL, IMAGES, Claim, Gain, Interval
from distillkit.study.plan import Study
from distillkit.study.record import Row

Seeds = Mapping[int, Row]  # of one cell


@frozen
class Judged:
    """One claim, in one row where there are rows."""

    claim: Claim
    where: str  # label of the row; "" for cells
    arm: str  # labels of cells
    against: str
    seeds: int  # that both have
    interval: Interval | None
    verdict: str  # holds, refuted, open, or waiting: not all seeds of this look are there
    why: str = ""

    @property
    def decided(self) -> bool:
        return self.verdict in ("holds", "refuted")


def judge(study: Study, rows: Sequence[Row], seeds: Sequence[int]) -> list[Judged]:
    """Judge each claim by its declared test over `seeds`, those of one look."""
    by_cell: dict[str, dict[int, Row]] = {cell.label: {} for cell in study.cell}
    for row in rows:
        if row.seed in seeds:
            by_cell[row.cell][row.seed] = row
    return [
        _judged(study, claim, where, (arm, by_cell[arm]), (against, by_cell[against]), seeds)
        for claim in study.claim
        for where, arm, against in study.pairs(claim)
    ]


def _judged(
    study: Study, claim: Claim, where: str, arm: tuple[str, Seeds], other: tuple[str, Seeds], seeds: Sequence[int]
) -> Judged:
    both = [seed for seed in seeds if seed in arm[1] and seed in other[1]]
    made = Judged(claim, where, arm[0], other[0], len(both), None, "waiting")
    for label, found in (arm, other):
        lost = [row for row in found.values() if row.state != "finished"]
        if lost:  # an arm that falls gains nothing; against one that falls nothing can be shown
            told = f"{label} {lost[0].state} with seed {lost[0].seed}"
            return evolve(made, verdict="refuted" if label == arm[0] else "open", why=told)
    if not both:
        return made
    odd = [row for found in (arm[1], other[1]) for row in found.values() if not finite(claim, row)]
    if odd:  # no number, so no gain
        return evolve(made, verdict="open", why=f"{odd[0].cell} has one that is not finite with seed {odd[0].seed}")
    gains = [gain(claim, arm[1][seed], other[1][seed], study.within) for seed in both]
    looks = max(1, len(study.looks))
    interval = Interval.of(gains, 1 - (1 - claim.confidence) / looks)
    verdict = interval.verdict(claim.needed) if len(both) == len(seeds) else "waiting"
    return evolve(made, interval=interval, verdict=verdict)


def gain(claim: Claim, arm: Row, other: Row, within: float) -> Gain:
    """Of one seed. Raises UsageError for a metric that was not measured, or has no better side."""
    higher = higher_is_better(claim.metric, arm.better)
    for row in (arm, other):
        if claim.metric not in row.metrics:
            known = ", ".join(row.metrics)
            raise UsageError(f"claim {claim.says!r}: {row.cell} has no metric {claim.metric!r}; it has {known}")
    if higher is None:
        raise UsageError(f"claim {claim.says!r}: nothing says which way {claim.metric!r} is better")
    if claim.measure == FINAL:
        difference = arm.metrics[claim.metric] - other.metrics[claim.metric]
        return Gain(difference if higher else -difference)
    ours, theirs = arm.curve(claim.metric), other.curve(claim.metric)
    target = curves.loosened(curves.final_value(theirs), within, higher)
    base, there = curves.reached(theirs, target, higher), curves.reached(ours, target, higher)
    if base is None or not ours:
        raise UsageError(f"claim {claim.says!r}: {claim.metric} was not measured on the way; evaluate.every_kimg does")
    needed = there.kimg if there else ours[-1].kimg
    if not (base.kimg > 0 and needed > 0):
        raise UsageError(
            f"claim {claim.says!r}: {claim.metric} is as good before the first image as {other.cell}'s end"
        )
    return Gain(
        math.log(base.kimg / needed),
        at_most=there is None or not base.exact,
        at_least=there is not None and not there.exact,
    )


def finite(claim: Claim, row: Row) -> bool:
    """Are the values that the claim is about finite?"""
    way = [point.value.mean for point in row.curve(claim.metric)] if claim.measure == IMAGES else []
    return all(map(math.isfinite, way or [row.metrics.get(claim.metric, 0.0)]))


def check(study: Study, recipes: Mapping[str, Recipe]) -> None:
    """Check that the recipe of each cell measures what is claimed of it.

    Raises UsageError for a metric that is not measured, not in time, or has no better side.
    """
    for claim in study.claim:
        for label in dict.fromkeys(label for _, *both in study.pairs(claim) for label in both):
            named = by_logged_name(recipes[label].evaluate)
            name, _, metric = claim.metric.partition("/")
            told = f"claim {claim.says!r}: {label} does not measure {claim.metric!r}"
            if name not in named:
                raise UsageError(f"{told}; it has {', '.join(f'{one}/...' for one in named) or 'no [[evaluate]]'}")
            part, way = named[name], named[name].cls.direction(metric)
            if part.cls.better and higher_is_better(claim.metric, {} if way is None else {claim.metric: way}) is None:
                known = ", ".join(f"{name}/{one}" for one, way in part.cls.better.items() if way != "none") or "none"
                raise UsageError(f"{told}, or it has no better side; those that have: {known}")
            if claim.measure == IMAGES and part.slot.every_kimg is None:
                raise UsageError(f"{told} on the way, as 'images' takes; evaluate.every_kimg does")
