"""A Recipe -> plain tables, and TOML that `read` accepts and reads as the same Recipe.

Not by tomli-w: it breaks every list over lines, has no form of one value, and lets signs through that turn text around.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from distillkit.recipe.schema import Recipe, Tables
from distillkit.recipe.shown import quoted
from distillkit.recipe.structure import converter
from distillkit.registry import Catalog

_CONVERTER = converter(Catalog(()))


def tables(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain tables, every default filled in: None left out, `from_` as `from`, without its path."""
    data: dict[str, Any] = _CONVERTER.unstructure(recipe, Tables)
    return data


def table_of(value: Any) -> Any:
    """A Choice, config or value as TOML would hold it."""
    return _CONVERTER.unstructure(value)


def to_toml(recipe: Recipe, made_with: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> str:
    """The resolved recipe as text; `made_with` goes to a last table that `read` ignores.

    `files` gives the recipes named by `from` other names, as seen from the folder the text is for.
    """
    data = {key: value for key, value in tables(recipe).items() if key != "about"}  # a run's recipe is no shipped one
    for table in recipe.starts_from:
        data[table]["from"] = (files or {}).get(data[table]["from"], data[table]["from"])
    if made_with:
        data["made_with"] = dict(made_with)
    return toml(data)


def toml(data: Mapping[str, Any]) -> str:
    """Plain tables as a TOML document."""
    return "\n".join(_table(data, "")).strip() + "\n"


def _table(data: Mapping[str, Any], name: str) -> Iterator[str]:
    """Lines of a table: values first, then the tables inside, each under its full name."""
    inner = {key: value for key, value in data.items() if isinstance(value, dict) or _is_tables(value)}
    for key, value in data.items():
        if key not in inner:
            yield f"{_key(key)} = {value_text(value)}"
    for key, value in inner.items():
        path = f"{name}.{_key(key)}".removeprefix(".")
        header = f"[{path}]" if isinstance(value, dict) else f"[[{path}]]"
        for table in [value] if isinstance(value, dict) else value:
            yield f"\n{header}"
            yield from _table(table, path)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def value_text(value: Any) -> str:
    """A plain value on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(value_text(entry) for entry in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {value_text(part)}" for key, part in value.items()) + "}"
    return repr(value)  # numbers, inf too, are written alike in Python and TOML


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else quoted(key)
