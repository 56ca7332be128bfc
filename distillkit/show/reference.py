"""How shipped recipes went where they were shipped: curves to draw behind those of a run of such a recipe.

distillkit/_students/curves/*.json, written by benchmarks/shipped_curves.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from distillkit.api import InputError
from distillkit.disk import typed
from distillkit.show.saved import Saved
from distillkit.show.svg import Point

FOLDER = Path(__file__).parents[1] / "_students" / "curves"


@frozen
class Reference:
    """The curves of a recipe as shipped, as far as the run that they stand behind is to go."""

    name: str = ""
    curves: Mapping[str, list[Point]] = field(factory=dict)

    @property
    def label(self) -> str:
        """What the legend calls it."""
        return f"{self.name} as shipped"

    def behind(self, curve: str) -> list[Point]:
        """Points (kimg, value) of the curve of that name; [] where there is no line to draw."""
        points = self.curves.get(curve, [])
        return points if len(points) > 1 else []


def of(run: Saved) -> Reference:
    """Curves of the run's recipe or, where none of that name are shipped, of one that it extends; else none.

    Of the same kind of data and method alone, and metrics where they are measured alike: losses of two methods have
    nothing in common but their names.
    """
    resolved = _toml(run.path / "resolved.toml")
    for name in _names(run):
        if (file := FOLDER / f"{Path(name).name}.json").is_file():
            told = json.loads(file.read_text(encoding="utf-8"))
            if made_of(resolved) == told["made_of"]:
                alike = measured_by(resolved) == told["measured_by"]
                curves = {**told["training"], **(told["metrics"] if alike else {})}
                end = _length(resolved)
                return Reference(name, {key: [(x, y) for x, y in points if x <= end] for key, points in curves.items()})
    return Reference()


def made_of(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs of one kind: data and method."""
    found = {table: resolved.get(table) for table in ("dataset", "generator_loss")}
    return {table: keys.get("use") if isinstance(keys, dict) else None for table, keys in found.items()}


def measured_by(resolved: Mapping[str, Any]) -> Any:
    """The recipe's metrics with all that changes their numbers."""
    found = resolved.get("evaluate")
    parts = [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []
    return [{key: value for key, value in part.items() if key != "every_kimg"} for part in parts]


def _names(run: Saved) -> Iterator[str]:
    """The recipe, then those that its file extends, the last first: it lies over the others."""
    yield run.name
    extends = _toml(run.path / "recipe.toml").get("extends")
    found = extends if isinstance(extends, list) else [extends]
    yield from (Path(each).stem for each in reversed(found) if isinstance(each, str))


def _toml(path: Path) -> dict[str, Any]:
    """What a recipe says; {} where it is lost or damaged, which others tell of."""
    try:
        return typed.toml(path) if path.is_file() else {}
    except InputError:
        return {}


def _length(resolved: Mapping[str, Any]) -> float:
    """Images that the run is to see, in thousands: what the shipped run did after that stands behind nothing."""
    found = resolved.get("run")
    kimg = found.get("kimg") if isinstance(found, dict) else None
    return float(kimg) if isinstance(kimg, int | float) else 0.0
