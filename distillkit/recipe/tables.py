"""A Recipe -> plain tables again, with every default filled in."""

from __future__ import annotations

from typing import Any

from distillkit.recipe.schema import Recipe, Tables
from distillkit.recipe.structure import converter
from distillkit.registry import Catalog

_CONVERTER = converter(Catalog(()))


def tables(recipe: Recipe) -> dict[str, Any]:
    """The recipe as TOML would hold it: None left out, `from_` as `from`, without its path."""
    data: dict[str, Any] = _CONVERTER.unstructure(recipe, Tables)
    return data


def plain(value: Any) -> Any:
    """A Choice, config or value as TOML would hold it."""
    return _CONVERTER.unstructure(value)
