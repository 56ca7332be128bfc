"""Licences of the published files that a run used, which may bind its student."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from distillkit.assets.table import table
from distillkit.networks import network_file
from distillkit.recipe.schema import Recipe
from distillkit.recipe.write import tables

BINDING = ("teacher", "data")  # kinds of assets
UNKNOWN = "unknown: those of the teacher and of the data may bind it"


def binding(recipe: Recipe, results: Iterable[Path]) -> dict[str, str]:
    """File name -> licence, of the teachers and data sets that a recipe names, and of those behind `results`.

    These are the folders of the results that the recipe starts from; what binds them is in their cards. So it is of
    a student or teacher that the recipe names by its folder, such as one that was pulled.
    """
    named = list(_strings(tables(recipe)))
    results = [*results, *(Path(text) for text in named if (Path(text) / network_file.WEIGHTS).is_file())]
    assets = [table().get(Path(text).name) for text in named]
    own = {asset.name: asset.licence for asset in assets if asset and asset.kind in BINDING}
    cards = [network_file.read_card(result).get("licence") or {} for result in results]
    return own | {str(name): str(licence) for card in cards for name, licence in card.items()}


def told(licences: dict[str, str] | None) -> str:
    """On one line."""
    return "; ".join(f"{name}: {licence}" for name, licence in (licences or {}).items()) or UNKNOWN


def non_commercial(licences: dict[str, str] | None) -> str | None:
    """What must be said where one of them forbids commercial use."""
    found = [f"{name} ({licence})" for name, licence in (licences or {}).items() if "-NC" in licence]
    return f"not for commercial use: made with {', '.join(found)}" if found else None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
