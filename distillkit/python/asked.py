"""Recipes and settings as Python has them: names, paths and dicts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distillkit.api.errors import UsageError
from distillkit.disk.remembered import run_of
from distillkit.recipe import shipped
from distillkit.recipe.load import STARTS
from distillkit.recipe.paths import of_python
from distillkit.recipe.write import toml, value_text

Asked = str | Path | Mapping[str, Any]  # a file, the name of a shipped recipe, or the tables themselves


@contextmanager
def file_of(recipe: Asked, name: str) -> Iterator[Path]:
    """The file of a recipe; that of tables lies in a folder of its own, and is gone afterwards.

    Paths in such tables count from the working directory, those of `extends` and `from` too. Raises UsageError for what
    is none.
    """
    if isinstance(recipe, str | Path):
        yield shipped.asked(str(recipe))
        return
    if not isinstance(recipe, Mapping):
        raise UsageError(f"a recipe is a path, a name or a dict, not {type(recipe).__name__}")
    with TemporaryDirectory(prefix="distillkit-") as folder:
        path = Path(folder) / f"{name}.toml"
        path.write_text(toml({"schema": 1, **_named(recipe, path.parent)}), encoding="utf-8")
        with of_python(path):
            yield path


def _named(recipe: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The tables with the recipes that they name as seen from `folder`."""

    def seen(name: Any) -> Any:
        if not isinstance(name, str) or not name.endswith(".toml"):
            return name
        return Path(os.path.relpath(os.path.realpath(name), os.path.realpath(folder))).as_posix()

    tables = dict(recipe)
    if "extends" in tables:
        listed = isinstance(tables["extends"], list | tuple)
        tables["extends"] = [seen(name) for name in tables["extends"]] if listed else seen(tables["extends"])
    for table in STARTS:
        if isinstance(tables.get(table), Mapping) and "from" in tables[table]:
            tables[table] = {**tables[table], "from": seen(tables[table]["from"])}
    return tables


def run_path(one: Any) -> Path:
    """The folder of a run: a Result, a path, or, as on the command line, its number or how its name begins in runs/."""
    if isinstance(one, Path):
        return one
    if isinstance(one, str) or (isinstance(one, int) and not isinstance(one, bool)):
        return run_of(str(one))
    path = getattr(one, "path", None)
    if isinstance(path, Path):
        return path
    raise UsageError(f"a run is a path, a number or a Result, not {type(one).__name__}")


def settings(given: Mapping[str, Any]) -> list[str]:
    """{"run.kimg": 8} as the command line has it: ["run.kimg=8"]. Raises UsageError for what TOML cannot hold."""
    made = []
    for key, value in given.items():
        plain = list(value) if isinstance(value, tuple) else value
        if not isinstance(plain, bool | int | float | str | list | dict):
            raise UsageError(f"set: {key} is {type(value).__name__}, and not a number, text, list or dict")
        made.append(f"{key}={value_text(plain)}")
    return made
