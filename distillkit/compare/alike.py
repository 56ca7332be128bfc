"""Numbers can be compared when they were measured alike: same data, same evaluation, same facts behind them.

Recipes may be equal where the files that they name were not: metrics tell facts of their own, kept with the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from distillkit.api import UsageError
from distillkit.api.slots import EvaluateSlot
from distillkit.compare.groups import Group, differences, shown
from distillkit.disk import alike

ENGINES = {field.name for field in attrs.fields(EvaluateSlot)}  # keys of [[evaluate]] that say when, not what


def check(groups: Sequence[Group], anyway: bool) -> None:
    """Raise UsageError where groups differ in data or evaluation, naming in what; with `anyway` warn instead."""
    wrong = [_sentence(key, values, groups) for key, values in _differences(groups)]
    wrong = wrong or list(_facts_apart(groups))  # of other keys the facts are others too
    if wrong and not anyway:
        raise UsageError(f"not measured alike: {'; '.join(wrong)}. --anyway compares them still")
    for sentence in wrong:
        warnings.warn(f"not measured alike: {sentence}", stacklevel=2)
    for dist, versions in differences([_versions(group) for group in groups]):
        if all(versions):  # a distribution that only one group uses makes no difference here
            warnings.warn(f"made with different versions: {_sentence(dist, versions, groups)}", stacklevel=2)


def _versions(group: Group) -> dict[str, str]:
    return group.runs[0].versions


def _differences(groups: Sequence[Group]) -> Iterator[tuple[str, list[Any]]]:
    yield from differences([group.recipe["dataset"] for group in groups], "dataset")
    names = {table["use"] for group in groups for table in group.recipe.get("evaluate", [])}
    for name in sorted(names):
        having = [_tables(group, name) for group in groups]
        if all(having):
            yield from differences(having, f"evaluate {name}")


def _tables(group: Group, name: str) -> list[dict[str, Any]]:
    tables = [table for table in group.recipe.get("evaluate", []) if table["use"] == name]
    return [{key: value for key, value in table.items() if key not in ENGINES} for table in tables]


def _sentence(key: str, values: Sequence[Any], groups: Sequence[Group]) -> str:
    told = ", ".join(f"{shown(value)} in {group.label}" for value, group in zip(values, groups, strict=True))
    return f"{key} is {told}"


def _facts_apart(groups: Sequence[Group]) -> Iterator[str]:
    """Facts behind a metric that are not the same in all groups; runs that tell none are left out."""
    names = {name for group in groups for run in group.finished for name in run.scores.protocol}
    for name in sorted(names):
        told = [(group.label, run.scores.protocol.get(name, {})) for group in groups for run in group.finished]
        for key in alike.differing([facts for _, facts in told]):
            values = {
                label: {facts[key] for other, facts in told if other == label and key in facts} for label, _ in told
            }
            each = ", ".join(
                f"{' and '.join(map(alike.shown, sorted(v)))} in {label}" for label, v in values.items() if v
            )
            yield f"{name} {key} is {each}"
