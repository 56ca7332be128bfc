"""A shipped recipe with all that it is made of and starts from, written to a folder of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from distillkit.api import UsageError
from distillkit.recipe import shipped
from distillkit.recipe.load import files, load


def copy(name: str, to: Path) -> list[Path]:
    """The files, the recipe asked for first; those that are there already and the same are left alone.

    Raises UsageError where a file of that name is another, or nothing can be written.
    """
    source = shipped.folder()
    if name not in shipped.names():
        raise UsageError(
            f"no shipped recipe is called {name[:64]!r}; {shipped.near(name) or 'distillkit recipes lists them'}"
        )
    made = {path: to / path.relative_to(source) for path in dict.fromkeys(_closure(source / f"{name}.toml"))}
    other = [str(new) for old, new in made.items() if new.exists() and new.read_bytes() != old.read_bytes()]
    if other:
        raise UsageError(f"{other[0]} is there already and another; nothing was written. --to names another folder")
    try:
        for old, new in made.items():
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(old.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    return list(made.values())


def _closure(path: Path) -> Iterator[Path]:
    """The recipe, what it extends, and the same of the recipes that it starts from."""
    yield from (Path(os.path.normpath(file)) for file in files(path))
    for table in load(path).data.values():
        file = table.get("from") if isinstance(table, dict) else None
        if isinstance(file, str):
            yield from _closure(shipped.path_of(file, path.parent))
