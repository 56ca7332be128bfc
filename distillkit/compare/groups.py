"""Runs of one recipe with different seeds belong together; how groups differ, and what they are called."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from distillkit.compare.runs import Run

MISSING: Any = None  # TOML has no null, so None is free to mean: this recipe has no such key


@frozen
class Group:
    """The runs of one recipe; those that did not finish count, but have no final numbers."""

    label: str
    runs: tuple[Run, ...]

    @property
    def finished(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.status == "finished" or run.taken)

    @property
    def seeds(self) -> str:
        """How many seeds finished, and what became of the others: "3", "2 of 3, 1 diverged"."""
        left = [run.status for run in self.runs if run.status != "finished"]
        if not left:
            return str(len(self.runs))
        told = ", ".join(f"{left.count(status)} {status}" for status in sorted(set(left)))
        return f"{len(self.finished)} of {len(self.runs)}, {told}"

    @property
    def recipe(self) -> dict[str, Any]:
        return self.runs[0].recipe


def groups(runs: Sequence[Run], labels: Mapping[Path, str] | None = None) -> list[Group]:
    """Group runs by recipe in the order given, or by `labels` of run folders; of two equal runs the later counts."""
    distinct = {run.fingerprint: run for run in runs}
    for run in runs:
        if distinct[run.fingerprint] is not run and distinct[run.fingerprint].path != run.path:
            warnings.warn(f"{run.path} is the same run as {distinct[run.fingerprint].path}: left out", stacklevel=2)
    found: list[list[Run]] = []
    for run in distinct.values():
        same = next((group for group in found if _same(group[0], run, labels)), None)
        if same is None:
            found.append([run])
        else:
            same.append(run)
    made = [Group(members[0].name, tuple(sorted(members, key=lambda run: run.seed))) for members in found]
    if labels is not None:
        return [evolve(group, label=labels[group.runs[0].path]) for group in made]
    return [evolve(group, label=_label(group, made)) for group in made]


def _same(a: Run, b: Run, labels: Mapping[Path, str] | None) -> bool:
    if labels is not None:
        return labels[a.path] == labels[b.path]
    return a.name == b.name and a.recipe == b.recipe and a.versions == b.versions


def _label(group: Group, all_groups: Sequence[Group]) -> str:
    """Name a group by its recipe; of several with one name, all but the first also say where they differ from it."""
    same = [other for other in all_groups if other.label == group.label]
    if group is same[0]:
        return group.label
    pair = [{**other.recipe, "made_with": other.runs[0].versions} for other in (same[0], group)]
    keys = dict(differences(pair))
    short = [key.rpartition(".")[2] for key in keys]
    names = {key: name if short.count(name) == 1 else key for key, name in zip(keys, short, strict=True)}
    return " ".join([group.label, *(f"{names[key]}={shown(value)}" for key, (_, value) in keys.items())])


def differences(recipes: Sequence[Any], key: str = "") -> Iterator[tuple[str, list[Any]]]:
    """List dotted keys whose values are not all equal, with each recipe's value; None where it has no such key.

    Where a table is missing or picks another component, the keys that only one side can have are not listed.
    """
    if all(recipe == recipes[0] for recipe in recipes):
        return
    tables = [_as_table(recipe) for recipe in recipes]
    present = [table for table in tables if table is not None]
    if not present or any(table is None and recipe is not MISSING for table, recipe in zip(tables, recipes)):  # noqa: B905
        yield key, list(recipes)
        return
    names = list(dict.fromkeys(name for table in present for name in table))
    split = len(present) < len(tables) or len({table.get("use") for table in present}) > 1
    if split and "use" in names:
        yield _joined(key, "use"), [None if table is None else table.get("use") for table in tables]
    for name in names:
        if split and ("use" in names) and (name == "use" or any(name not in (table or {}) for table in tables)):
            continue
        yield from differences([MISSING if table is None else table.get(name) for table in tables], _joined(key, name))


def _as_table(value: Any) -> dict[str, Any] | None:
    """Read a value as a table, a list of tables by number; None for a plain value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return {str(i): entry for i, entry in enumerate(value)}
    return None


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def shown(value: Any) -> str:
    """Write a value of a recipe shortly: strings without quotes, a number as it is."""
    if value is MISSING:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    return str(value)
