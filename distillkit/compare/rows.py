"""Comparisons side by side: each row of a study against its own first cell, all others against one baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve

from distillkit.api import UsageError
from distillkit.compare import measured
from distillkit.compare.comparison import Comparison, curved, measured_metrics, of_groups, told
from distillkit.compare.groups import Group, groups
from distillkit.compare.runs import Run

Rows = Mapping[str, Mapping[str, str]]  # label of a group by row and column


def compare_rows(
    runs: Sequence[Run], labels: Mapping[Path, str], rows: Rows, *, baseline: str, metrics: Sequence[str], within: float
) -> Comparison:
    """Compare within each row, where groups are called by their column; a cell without runs is an empty group.

    Raises UsageError where no run is finished, or numbers within a row were not measured alike.
    """
    found = {group.label: group for group in groups(runs, labels)}
    if not any(group.finished for group in found.values()):
        raise UsageError(f"none of {len(runs)} runs is finished")
    base = _group(found, baseline)
    names = measured_metrics(list(found.values()))
    asked = curved(names, base, metrics, told(list(found.values())))

    def part(members: Sequence[Group]) -> Comparison:
        measured.check([group for group in members if group.finished], anyway=False)
        return of_groups(members, members[0], names, asked, within)

    made = {
        name: part([evolve(_group(found, label), label=column) for column, label in row.items()])
        for name, row in rows.items()
    }
    inside = {label for row in rows.values() for label in row.values()}
    rest = [group for group in found.values() if group.label not in inside]
    whole = of_groups(list(found.values()), base, names, asked, within)
    return evolve(whole, rows=made, rest=part([base, *rest]) if rest else None)


def _group(found: Mapping[str, Group], label: str) -> Group:
    return found.get(label, Group(label, ()))
