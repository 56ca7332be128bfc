"""Recipes and settings as Python has them: names, paths and dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from distillkit.api.errors import UsageError
from distillkit.recipe import shipped
from distillkit.recipe.paths import of_python
from distillkit.recipe.write import toml, value_text

Asked = str | Path | Mapping[str, Any]  # a file, the name of a shipped recipe, or the tables themselves


@contextmanager
def file_of(recipe: Asked, name: str) -> Iterator[Path]:
    """The file of a recipe; that of tables lies in a folder of its own, and is gone afterwards.

    Such tables name other recipes by the names of shipped ones, or by whole paths; paths of data count from the working
    directory. Raises UsageError for what is none.
    """
    if isinstance(recipe, str | Path):
        yield shipped.asked(str(recipe))
        return
    if not isinstance(recipe, Mapping):
        raise UsageError(f"a recipe is a path, a name or a dict, not {type(recipe).__name__}")
    with TemporaryDirectory(prefix="distillkit-") as folder:
        path = Path(folder) / f"{name}.toml"
        path.write_text(toml({"schema": 1, **recipe}), encoding="utf-8")
        with of_python(path):
            yield path


def settings(given: Mapping[str, Any]) -> list[str]:
    """{"run.kimg": 8} as the command line has it: ["run.kimg=8"]. Raises UsageError for what TOML cannot hold."""
    made = []
    for key, value in given.items():
        plain = list(value) if isinstance(value, tuple) else value
        if not isinstance(plain, bool | int | float | str | list | dict):
            raise UsageError(f"set: {key} is {type(value).__name__}, and not a number, text, list or dict")
        made.append(f"{key}={value_text(plain)}")
    return made
