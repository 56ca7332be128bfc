"""What the shipped recipes are, from their tables alone; no plugin is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

from distillkit.recipe import shipped
from distillkit.recipe.load import load
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
    """Those on data whose short name begins so, or whose name in words has it, and by that method."""
    kept = recipes if data is None else [one for one in recipes if _is_on(one.about, data.lower())]
    return kept if method is None else [one for one in kept if _is_by(one, method.lower())]


def _is_by(recipe: Listed, method: str) -> bool:
    """By the name in the recipe's name, or by what follows `use =`: "di" is "diff-instruct"."""
    return method.replace("-", "_") == recipe.about.method or method == recipe.use


def _is_on(about: About, data: str) -> bool:
    return str(about.data).startswith(data) or data in str(about.images).lower()
