"""`--set a.b.0.c=VALUE`: a TOML value over a recipe, checked like the file."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from typing import Any

from distillkit.recipe.layer import Layer, Origin
from distillkit.recipe.lines import MAX_DEPTH, TooMuch, check_limits
from distillkit.recipe.problem import Key, Problem, key_text


def override(layer: Layer, text: str) -> Layer | Problem:
    """The layer with one setting replaced, or why that cannot be."""
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not text.isprintable():
        return Problem("--set", None, "", "has characters that cannot be printed")
    if not equals or not all(parts):
        return Problem("--set", None, "", f'"{text[:80]}" is not KEY=VALUE', "for example run.kimg=100")
    if len(parts) > MAX_DEPTH:
        return Problem("--set", None, "", f"nested deeper than {MAX_DEPTH}")
    key, wrong = _resolve(layer.data, parts)
    if wrong:
        return Problem("--set", None, key_text(key), wrong)
    return _put(layer, key, _value(value.strip()))


def _value(text: str) -> Any:
    """A TOML value; what is none is a plain string, so that device=cpu needs no quotes."""
    try:
        check_limits(text)
        found = tomllib.loads(f"value = {text}")
    except (TooMuch, ValueError, RecursionError):
        return text
    return found["value"] if set(found) == {"value"} else text


def _resolve(data: Any, parts: list[str]) -> tuple[Key, str]:
    """Numbers after the name of a list are its entries; the second part says why there is no such place."""
    key: Key = ()
    for part in parts:
        if isinstance(data, list | tuple):
            if not (part.isdecimal() and len(part) < 9 and int(part) < len(data)):
                return (*key, part), f"{key_text(key)} has {len(data)} entries, numbered from 0"
            key, data = (*key, int(part)), data[int(part)]
        elif isinstance(data, dict):
            key, data = (*key, part), data.get(part, {})
        else:
            return (*key, part), f"{key_text(key)} is a value, not a table"
    return key, ""


def _put(layer: Layer, key: Key, value: Any) -> Layer:
    data = deepcopy(layer.data)
    *tables, last = key
    table: Any = data
    for part in tables:
        table = table.setdefault(part, {}) if isinstance(table, dict) else table[part]
    gone = key
    if last == "use" and table.get("use", value) != value:  # another component: the keys of the old one go
        table.clear()
        gone = key[:-1]
    table[last] = value
    kept = {k: origin for k, origin in layer.origins.items() if len(k) <= len(gone) or k[: len(gone)] != gone}
    here = Origin("--set")
    return Layer(data, {key[:1]: here} | kept | {key: here})  # a table that is not in the file is of this place too
