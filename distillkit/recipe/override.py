"""`--set a.b.0.c=VALUE`: a TOML value over a recipe, checked like the file."""

from __future__ import annotations

import tomllib
from typing import Any

from attrs import evolve

from distillkit.recipe.layer import REMOVED, Layer, Origin, overlay, removed
from distillkit.recipe.lines import MAX_DEPTH, TooMuch, check_limits
from distillkit.recipe.problem import Key, Problem, key_text

HERE = Origin("--set")


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
    new = _value(value.strip())
    key, wrong = _place(layer.data, parts, _nested(parts, new))
    if wrong:
        return Problem("--set", None, key_text(key), wrong)
    for over in (REMOVED, new) if isinstance(new, dict) else (new,):  # a table that is given whole is no addition
        layer = overlay(layer, Layer(_nested(parts, over), {tuple(parts): HERE}))
    return evolve(
        layer, origins={key[:1]: HERE} | layer.origins
    )  # a table that is not in the file is of this place too


def _nested(parts: list[str], value: Any) -> Any:
    for part in reversed(parts):
        value = {part: value}
    return value


def _value(text: str) -> Any:
    """A TOML value; what is none is a plain string, so that device=cpu needs no quotes."""
    try:
        check_limits(text)
        found = tomllib.loads(f"value = {text}")
    except (TooMuch, ValueError, RecursionError):
        return text
    return found["value"] if set(found) == {"value"} else text


def _place(data: Any, parts: list[str], over: Any) -> tuple[Key, str]:
    """Numbers after the name of a list are its entries; the second part says why there is no such place."""
    key: Key = ()
    for part in parts:
        if removed(over):  # KEY.remove=true, whatever the key has for a value
            break
        if isinstance(data, list | tuple):
            if not (part.isdecimal() and len(part) < 9 and int(part) < len(data)):
                return (*key, part), f"{key_text(key)} has {len(data)} entries, numbered from 0"
            key, data = (*key, int(part)), data[int(part)]
        elif isinstance(data, dict):
            key, data = (*key, part), data.get(part, {})
        else:
            return (*key, part), f"{key_text(key)} is a value, not a table"
        over = over[part]
    return key, ""
