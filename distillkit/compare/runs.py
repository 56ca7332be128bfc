"""One run as its folder tells it: recipe, numbers, pictures; no plugin is needed to read it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from distillkit.api import InputError
from distillkit.disk import results, typed
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.results import Scores
from distillkit.disk.rundir import RunDir
from distillkit.recipe.fingerprint import WITHOUT_EFFECT_ON_RESULT
from distillkit.recipe.paths import spelt
from distillkit.show import html


@frozen
class Evaluation:
    """One evaluation during training."""

    nimg: int
    seconds: float  # of training so far
    metrics: dict[str, float]


@frozen
class Run:
    """A run folder, read."""

    path: Path
    name: str  # of the recipe
    fingerprint: str
    status: str  # finished, collapsed, unfinished, diverged, failed
    seed: int
    recipe: dict[str, Any]  # resolved, without seeds; `from` holds the recipe of the parent
    versions: dict[str, str]
    evaluations: list[Evaluation]
    scores: Scores
    nimg: int
    seconds: float  # of training
    taken: bool = False  # for a finished one, though it collapsed

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read a run folder. Raises UsageError for what is none, InputError for a damaged one."""
        folder = RunDir.open(path)
        folder.warn_of_changes()
        try:
            return cls._of(folder)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # somebody edited what it holds
            told = f"{type(error).__name__}: {error}"[:120]
            raise InputError(f"{path}: run.json or resolved.toml is not what a run writes ({told})") from error

    @classmethod
    def _of(cls, folder: RunDir) -> Run:
        path, rows = folder.path, MetricsLog(folder.metrics).read()
        recipe = typed.toml(folder.resolved)
        ticks = [row for row in rows if type(row.get("seconds")) in (int, float)]
        return cls(
            path=path, name=typed.text(folder.info.get("recipe", path.name)), fingerprint=folder.fingerprint,
            status=folder.status(), seed=int(recipe.get("run", {}).get("seed", 0)), 
            recipe=_comparable(recipe, path, path.parent.parent),
            versions={typed.text(k): typed.text(v) for k, v in folder.info.get("versions", {}).items()},
            evaluations=[_evaluation(row) for row in rows if row["what"] == "evaluate"],
            scores=results.read_or_last(path, rows), nimg=ticks[-1]["nimg"] if ticks else 0,
            seconds=ticks[-1]["seconds"] if ticks else 0.0,
        )  # fmt: skip

    @property
    def picture(self) -> Path | None:
        """The newest sheet of samples; all runs draw theirs from the same noise."""
        sheets = html.pictures(self.path / "samples", "kimg-*.png")
        return sheets[-1] if sheets else None


def _evaluation(row: Mapping[str, Any]) -> Evaluation:
    return Evaluation(row["nimg"], typed.number(row.get("seconds", 0.0)), results.of_row(row))


def _comparable(recipe: dict[str, Any], folder: Path, home: Path) -> dict[str, Any]:
    """Leave out seed, versions and what does not change a result; put parents' recipes in place of their names.

    Paths are as seen from `home`, where those of 0.1 began.
    """
    tables = {key: _seen_from(home, folder, part) for key, part in recipe.items() if key not in ("schema", "made_with")}
    if not isinstance(tables["dataset"], dict):
        raise TypeError("dataset is no table")
    tables["run"] = {
        key: value for key, value in tables["run"].items() if key not in ("seed", *WITHOUT_EFFECT_ON_RESULT)
    }
    for key in ("teacher_score", "generator"):
        table = tables.get(key, {})
        if "from" in table:
            parent = folder / table["from"]
            tables[key] = {
                **table,
                "from": {"use": parent.stem, **_comparable(typed.toml(parent), parent.parent, home)},
            }
    return tables


def _seen_from(home: Path, folder: Path, value: Any) -> Any:
    if isinstance(value, str) and value.startswith("../"):
        return spelt(str(folder / value), os.path.abspath(home))
    if isinstance(value, dict):
        return {key: part if key == "from" else _seen_from(home, folder, part) for key, part in value.items()}
    return [_seen_from(home, folder, part) for part in value] if isinstance(value, list) else value
