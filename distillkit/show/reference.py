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
from distillkit.show.saved import Saved, table
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
    for name in _names(run):
        if (file := FOLDER / f"{Path(name).name}.json").is_file():
            told = json.loads(file.read_text(encoding="utf-8"))
            if made_of(run.recipe) == told["made_of"]:
                alike = measured_by(run.recipe) == told["measured_by"]
                curves = {**told["training"], **(told["metrics"] if alike else {})}
                end = run.total / 1000  # what the shipped run did after that stands behind nothing
                return Reference(name, {key: [(x, y) for x, y in points if x <= end] for key, points in curves.items()})
    return Reference()


def made_of(resolved: dict[str, Any]) -> dict[str, Any]:
    """What makes two runs of one kind: data and method."""
    return {name: table(resolved, name).get("use") for name in ("dataset", "generator_loss")}


def measured_by(resolved: Mapping[str, Any]) -> Any:
    """The recipe's metrics with all that changes their numbers."""
    found = resolved.get("evaluate")
    parts = [part for part in found if isinstance(part, dict)] if isinstance(found, list) else []
    return [{key: value for key, value in part.items() if key != "every_kimg"} for part in parts]


def _names(run: Saved) -> Iterator[str]:
    """The recipe, then those that its file extends, the last first: it lies over the others."""
    yield run.name
    given = run.path / "recipe.toml"
    try:
        extends = typed.toml(given).get("extends") if given.is_file() else None
    except InputError:  # the page is made of the resolved one
        extends = None
    found = extends if isinstance(extends, list) else [extends]
    yield from (Path(each).stem for each in reversed(found) if isinstance(each, str))
