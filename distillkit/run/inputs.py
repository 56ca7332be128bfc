"""What a run reads beside its recipe: noted in run.json when it is made, compared before the run is used again.

The fingerprint names data and checkpoints by their paths, and what lies there may be replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distillkit.api.keys import changes_bits, names_file
from distillkit.assets.folder import folder
from distillkit.assets.locate import located
from distillkit.disk import content
from distillkit.disk.rundir import RunDir
from distillkit.recipe.paths import named
from distillkit.recipe.problem import key_text
from distillkit.recipe.schema import Recipe

NOTE = "inputs"  # of run.json


def paths(recipe: Recipe, wanted: Callable[[Any], bool] = names_file) -> dict[str, Path]:
    """The files and folders that a recipe names, published ones where they lie, by their keys."""
    found = named(located(recipe, folder())).items()
    return {key_text(key): Path(text) for key, (one, text) in found if changes_bits(one) and wanted(one)}


def noted(recipe: Recipe, parents: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """What a run of the recipe reads now, for its run.json; `parents`: folders of the runs it starts from, by table."""
    found = {}
    for key, path in (paths(recipe) | _results(parents)).items():
        if there := content.of(path):
            found[key] = {"at": str(path), **there.noted()}
    return found


def _results(parents: Mapping[str, Path]) -> dict[str, Path]:
    return {f"{table}.from": path / "result" for table, path in parents.items()}


def changes(run: RunDir, recipe: Recipe, parents: Mapping[str, Path]) -> list[str]:
    """What a run has read and is something else now, a few words each."""
    if not known(run):
        return []
    notes, told = run.info[NOTE], []
    for key, path in paths(recipe).items():
        if key in notes and content.differs(path, notes[key]):
            told.append(f"{key} = {str(path)!r} has changed")
    for key, path in _results(parents).items():
        if key in notes and content.differs(path, notes[key]):
            told.append(f"{key.removesuffix('.from')} is another now, of {path.parent}")
    return told


def parent(run: RunDir, table: str) -> Path | None:
    """Where the run that it started a table from lay, as it noted it; None: it noted none."""
    at = (run.info[NOTE].get(f"{table}.from") or {}).get("at") if known(run) else None
    return Path(at).parent if isinstance(at, str) else None


def known(run: RunDir) -> bool:
    """Whether the run has noted its inputs: those of 0.1.0 have not."""
    notes = run.info.get(NOTE)
    return isinstance(notes, dict) and all(isinstance(note, dict) for note in notes.values())


def unknown(run: RunDir, recipe: Recipe) -> bool:
    """Whether the run may have read something and did not note what."""
    return not known(run) and bool(recipe.starts_from or paths(recipe))
