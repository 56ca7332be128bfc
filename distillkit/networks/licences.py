"""Licences of the published files that a run used, which may bind its student."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distillkit.assets.table import table
from distillkit.recipe.load import load

BINDING = ("teacher", "data")  # kinds of assets
UNKNOWN = "unknown: those of the teacher and of the data may bind it"


def of_run(run: Path) -> dict[str, str]:
    """File name -> licence, of the teachers and data sets that the resolved recipes of a run and its parents name."""
    recipes = [load(path).data for path in (run / "resolved.toml", *sorted(run.glob("from/*.toml"))) if path.is_file()]
    assets = [table().get(Path(text).name) for text in _strings(recipes)]
    return {asset.name: asset.licence for asset in assets if asset and asset.kind in BINDING}


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
