"""The shipped recipes as a collection: what each one is, from its tables alone, and how one is copied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from attrs import frozen

from distillkit.api import UsageError
from distillkit.api.errors import FULL
from distillkit.disk.files import write_atomic
from distillkit.recipe import shipped
from distillkit.recipe.load import files, load
from distillkit.recipe.schema import About
from distillkit.recipe.structure import converter
from distillkit.registry import Catalog


@frozen
class Listed:
    """A shipped recipe."""

    name: str
    path: Path
    use: str  # of its method
    kimg: float
    batch: int
    about: About

    @property
    def method(self) -> str:
        """With the further loss, if there is one."""
        return f"{self.about.method} + {self.about.loss}" if self.about.loss else str(self.about.method)


def listed() -> list[Listed]:
    """All shipped recipes, by name."""
    about = converter(Catalog(()))
    found = []
    for name in shipped.names():
        path = shipped.folder() / f"{name}.toml"
        data: dict[str, Any] = load(path).data
        run, told = data["run"], about.structure(data.get("about", {}), About)
        found.append(Listed(name, path, data["generator_loss"]["use"], run["kimg"], run["batch"], told))
    return found


def picked(recipes: list[Listed], data: str | None, method: str | None) -> list[Listed]:
    """Those on data whose short name begins so, or whose name in words has it, and by that method or `use`."""
    kept = recipes if data is None else [one for one in recipes if _is_on(one.about, data.lower())]
    if method is None:
        return kept
    named = [one for one in kept if one.about.method == method.lower().replace("-", "_")]
    # Recipes called di say use = "diff-instruct"; those called gdd_i say use = "gdd", and are not meant by that.
    return named or [one for one in kept if one.use == method.lower()]


def _is_on(about: About, data: str) -> bool:
    return str(about.data).startswith(data) or data in str(about.images).lower()


def copy(name: str, to: Path) -> list[Path]:
    """Write a shipped recipe, and all that it is made of and starts from, to a folder -> the files, its own first.

    Those that are there already and the same are left alone. Raises UsageError where a file of that name is another, or
    nothing can be written.
    """
    source = shipped.folder()
    if name not in shipped.names():
        raise UsageError(f"no shipped recipe is called {name[:64]!r}; {_near(name)}")
    made = {path: to / path.relative_to(source) for path in dict.fromkeys(_closure(source / f"{name}.toml"))}
    other = [str(new) for old, new in made.items() if new.exists() and new.read_bytes() != old.read_bytes()]
    if other:
        raise UsageError(f"{other[0]} is there already and another; nothing was written. --to names another folder")
    try:
        for old, new in made.items():
            new.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(new, old.read_bytes())
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    return list(made.values())


def _closure(path: Path) -> Iterator[Path]:
    """The recipe, what it extends, and the same of the recipes that it starts from."""
    yield from (Path(os.path.normpath(file)) for file in files(path))
    for table in load(path).data.values():
        file = table.get("from") if isinstance(table, dict) else None
        if isinstance(file, str):
            yield from _closure(shipped.path_of(file, path.parent))


def _near(name: str) -> str:
    found = get_close_matches(name, shipped.names(), n=1)
    return (f"did you mean {found[0]}?   " if found else "") + "distillkit recipes lists them"
