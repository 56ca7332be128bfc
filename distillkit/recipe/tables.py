"""A Recipe -> plain tables again, with every default filled in."""

from __future__ import annotations

from typing import Any

import attrs

from distillkit.api import Choice
from distillkit.recipe.fields import fields
from distillkit.recipe.schema import Recipe


def tables(recipe: Recipe) -> dict[str, Any]:
    """The recipe as TOML would hold it: None left out, `from_` as `from`, without its path."""
    found: dict[str, Any] = plain(recipe)
    del found["path"]
    return found


def plain(value: Any) -> Any:
    """A Choice, config or value as TOML would hold it."""
    if isinstance(value, Choice):
        return {"use": value.name, **plain(value.slot), **plain(value.config)}
    if attrs.has(type(value)):
        parts = {key: getattr(value, field.name) for key, field in fields(type(value)).items()}
        return {key: plain(part) for key, part in parts.items() if part is not None}
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
