"""Groups of runs against a baseline: final numbers, and how soon each is as good as the baseline was at its end."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from distillkit.api import UsageError
from distillkit.compare import alike, curves
from distillkit.compare.curves import Point, Reached, Spread
from distillkit.compare.differ import gain
from distillkit.compare.direction import higher_is_better
from distillkit.compare.groups import Group, groups
from distillkit.compare.runs import Run
from distillkit.disk import results

CURVES = 2  # metrics with curves, where none are asked for
WITHIN = 0.05
Rows = Mapping[str, Mapping[str, str]]  # label of a group by row and column


@frozen
class Target:
    """What a curve must reach: the baseline's final value, or nearly."""

    metric: str
    final: float  # mean of the baseline's last three evaluations
    value: float  # the same, worse by the share `within`
    higher: bool  # is better


@frozen(repr=False)
class Comparison:
    """All that the table and the page show; notebooks show its tables and pictures."""

    groups: tuple[Group, ...]
    baseline: Group
    metrics: tuple[str, ...]
    targets: tuple[Target, ...]  # of the metrics with curves
    within: float
    rows: Mapping[str, Comparison] = field(factory=dict)  # of a study with axes: the columns of each, against the first
    rest: Comparison | None = None  # beside rows: the groups that are in none

    def higher(self, metric: str) -> bool | None:
        """Tell whether a higher `metric` is better; None where that is unknown or neither."""
        return higher_is_better(metric, told(self.groups))

    def curve(self, group: Group, metric: str) -> list[Point]:
        """Average the metric's curves over the finished runs of `group`."""
        return curves.mean_curve(group.finished, metric)

    def final(self, group: Group, metric: str) -> Spread | None:
        """Average the metric over the finished students of `group`; None where one of them has no such number."""
        values = [run.scores.student.get(metric) for run in group.finished]
        return Spread.of(values) if values and None not in values else None  # type: ignore[arg-type]

    def reference(self, kind: str, metric: str) -> float | None:
        """Average the number of the "teacher" or the "floor" (real against real images) over the baseline's runs."""
        rows = [row for run in self.baseline.finished for row in run.scores.rows() if row.name == metric]
        values = [value for value in (getattr(row, kind) for row in rows) if value is not None]
        return statistics.fmean(values) if values else None

    def reached(self, group: Group, target: Target) -> Reached | None:
        return curves.reached(self.curve(group, target.metric), target.value, target.higher)

    def best(self, metric: str) -> str:
        """Name the group that is better than every other one beyond chance; "" where there is none."""
        finals = {group.label: value for group in self.groups if (value := self.final(group, metric))}
        higher = self.higher(metric)
        for label, value in finals.items():
            others = [gain(value, other, higher) > 0 for name, other in finals.items() if name != label]
            if others and all(others):
                return label
        return ""

    def __repr__(self) -> str:
        return f"Comparison({', '.join(group.label for group in self.groups)}; baseline {self.baseline.label})"

    def _repr_html_(self) -> str:
        from distillkit.compare.notebook import html_of  # which draws what is here

        return html_of(self)

    def speed(self, group: Group) -> float:
        """Average the training speed, images per second, over the finished runs of `group`."""
        speeds = [run.nimg / run.seconds for run in group.finished if run.seconds > 0]
        return statistics.fmean(speeds) if speeds else math.nan


def compare(
    runs: Sequence[Run],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    within: float = WITHIN,
    anyway: bool = False,
    labels: Mapping[Path, str] | None = None,
) -> Comparison:
    """Group and check runs; `baseline` is a label, a recipe name or a run folder, `metrics` get the curves.

    Raises UsageError where nothing is finished, names are unknown, or numbers were not measured alike.
    """
    grouped = groups(runs, labels)
    base = _baseline(grouped, baseline)
    if not base.finished:
        raise UsageError(f"the baseline {base.label!r} has no finished run: {base.seeds}")
    alike.check([group for group in grouped if group.finished], anyway)
    names = measured_metrics(grouped)
    return of_groups(grouped, base, names, curved(names, base, metrics, told(grouped)), within)


def compare_rows(
    runs: Sequence[Run], labels: Mapping[Path, str], rows: Rows, *, baseline: str, metrics: Sequence[str], within: float
) -> Comparison:
    """Compare within each row, where groups are called by their column; a cell without runs is an empty group.

    Raises UsageError where no run is finished, or numbers within a row were not measured alike.
    """
    by_label = {group.label: group for group in groups(runs, labels)}
    if not any(group.finished for group in by_label.values()):
        raise UsageError(f"none of {len(runs)} runs is finished")
    base = _group(by_label, baseline)
    names = measured_metrics(list(by_label.values()))
    asked = curved(names, base, metrics, told(list(by_label.values())))

    def among(members: Sequence[Group]) -> Comparison:
        alike.check([group for group in members if group.finished], anyway=False)
        return of_groups(members, members[0], names, asked, within)

    made = {
        name: among([evolve(_group(by_label, label), label=column) for column, label in row.items()])
        for name, row in rows.items()
    }
    inside = {label for row in rows.values() for label in row.values()}
    rest = [group for group in by_label.values() if group.label not in inside]
    whole = of_groups(list(by_label.values()), base, names, asked, within)
    return evolve(whole, rows=made, rest=among([base, *rest]) if rest else None)


def _group(by_label: Mapping[str, Group], label: str) -> Group:
    return by_label.get(label, Group(label, ()))


def of_groups(
    grouped: Sequence[Group], base: Group, names: Sequence[str], main: Sequence[str], within: float
) -> Comparison:
    """Compare groups that are known to have been measured alike; `main` are the metrics with curves."""
    targets = tuple(_target(base, metric, within, told(grouped)) for metric in main)
    return Comparison(tuple(grouped), base, tuple(names), targets, within)


def _baseline(grouped: Sequence[Group], asked: str | None) -> Group:
    if asked is None:
        return grouped[0]
    for fits in (
        [group for group in grouped if group.label == asked],
        [group for group in grouped if group.runs[0].name == asked],
        [group for group in grouped if any(run.path.resolve() == Path(asked).resolve() for run in group.runs)],
    ):
        if len(fits) == 1:
            return fits[0]
    raise UsageError(f"no single group is called {asked!r}; groups: {', '.join(group.label for group in grouped)}")


def measured_metrics(grouped: Sequence[Group]) -> list[str]:
    """List the metrics of all groups in the order measured, without floors and spreads."""
    rows = [row for group in grouped for run in group.finished for row in results.table(run.scores.student)]
    return list(dict.fromkeys(row.name for row in rows))


def told(grouped: Sequence[Group]) -> dict[str, str]:
    """Collect which way metrics improve, from the results of finished runs."""
    return {name: way for group in grouped for run in group.finished for name, way in run.scores.better.items()}


def curved(names: Sequence[str], base: Group, asked: Sequence[str], better: Mapping[str, str]) -> list[str]:
    """Choose the metrics with curves: those asked for, else the baseline's first whose direction is known."""
    if asked:
        return [_named(name, names) for name in asked]
    known = [name for name in names if higher_is_better(name, better) is not None]
    drawn = [name for name in known if len(curves.mean_curve(base.finished, name)) > 1]
    return (drawn or known)[:CURVES]


def _named(asked: str, names: Sequence[str]) -> str:
    fits = [name for name in names if name == asked] or [name for name in names if name.endswith(f"/{asked}")]
    if len(fits) != 1:
        raise UsageError(f"no single metric is called {asked!r}; metrics: {', '.join(names) or 'none'}")
    return fits[0]


def _target(base: Group, metric: str, within: float, better: Mapping[str, str]) -> Target:
    higher = bool(higher_is_better(metric, better))
    final = curves.final_value(curves.mean_curve(base.finished, metric))
    return Target(metric, final, curves.loosened(final, within, higher), higher)
