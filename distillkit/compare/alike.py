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

ENGINES = {field.name for field in attrs.fields(EvaluateSlot)}  # keys of [[evaluate]] that say when, not what
Facts = dict[str, set[str]]  # values of a fact, such as the sha256 of the features, over runs


def check(groups: Sequence[Group], anyway: bool) -> None:
    """Raise UsageError where groups differ in data or evaluation, naming in what; with `anyway` warn instead."""
    wrong = [_sentence(key, values, groups) for key, values in _differences(groups)]
    if wrong and not anyway:
        raise UsageError(f"not measured alike: {'; '.join(wrong)}. --anyway compares them still")
    for sentence in wrong:
        warnings.warn(f"not measured alike: {sentence}", stacklevel=2)
    if not wrong:  # else it is told already
        _check_facts(groups)
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


def _check_facts(groups: Sequence[Group]) -> None:
    """Warn of facts behind a metric that are not the same in all groups; runs that tell none are left out."""
    names = {name for group in groups for run in group.finished for name in run.scores.protocol}
    for name in sorted(names):
        having = [(group.label, facts) for group in groups if (facts := _facts(group, name))]
        for sentence in _differing(having):
            warnings.warn(f"{name} is not measured alike: {sentence}", stacklevel=4)


def _facts(group: Group, name: str) -> Facts:
    told = [run.scores.protocol.get(name, {}) for run in group.finished]
    return {key: {facts[key] for facts in told if key in facts} for key in {key for facts in told for key in facts}}


def _differing(having: Sequence[tuple[str, Facts]]) -> Iterator[str]:
    for key in sorted({key for _, facts in having for key in facts}):
        values = [(label, facts[key]) for label, facts in having if key in facts]
        if len(set().union(*(each for _, each in values))) > 1:
            yield f"{key} is " + ", ".join(f"{' and '.join(sorted(each))!r} in {label}" for label, each in values)
