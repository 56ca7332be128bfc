"""Layers of a recipe, each value with the place it came from; how one lies over another, and `--set` over all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from distillkit.recipe.lines import MAX_DEPTH, TooMuch, check_limits
from distillkit.recipe.problem import Key, Problem, key_text

OPTIMIZER = ("generator", "optimizer")
REMOVED = {"remove": True}  # as a key's value: none, though a lower layer or a default gives one


@frozen
class Origin:
    """Where a value was written."""

    file: str  # as messages call it
    line: int | None = None
    path: Path | None = None  # None: of no file


SET = Origin("--set")


class Setting(str):
    """A KEY=VALUE that a file gives, as studies do."""

    file: Path

    @classmethod
    def of(cls, text: str, file: Path) -> Setting:
        made = cls(text)
        made.file = file
        return made


@frozen
class Layer:
    """Tables, and the origin of their keys; a key without one has that of the table around it.

    `foreign`: settings of the generator's optimizer that a layer beneath has for another method -> that method.
    """

    data: dict[str, Any]
    origins: dict[Key, Origin] = field(factory=dict)
    foreign: dict[Key, str] = field(factory=dict)

    def origin(self, key: Key) -> Origin:
        while key not in self.origins and key:
            key = key[:-1]
        return self.origins.get(key, Origin(""))


def stamped(data: dict[str, Any], origin: Origin) -> Layer:
    """A layer whose values all come from one place."""
    return Layer(data, dict.fromkeys(_keys(data, ()), origin))


def overlay(low: Layer, high: Layer) -> Layer:
    """`high` over `low`: tables merge, all else is replaced, and so is a table whose `use` is another one.

    A table over a list changes the entries that its keys number; `{remove = true}` stands for a key without a value.
    """
    replaced: set[Key] = set()
    data = _merge(low.data, high.data, (), replaced)
    kept = {key: at for key, at in low.origins.items() if not any(key[:n] in replaced for n in range(len(key) + 1))}
    origins = kept | {_numbered(key, data): at for key, at in high.origins.items()}
    return Layer(data, origins, _foreign(low, high) | high.foreign)


def _foreign(low: Layer, high: Layer) -> dict[Key, str]:
    """The settings of `low`'s optimizer that `high` leaves to another method."""
    before, after = (layer.data.get("generator_loss") for layer in (low, high))
    methods = [table.get("use") for table in (before, after) if isinstance(table, dict)]
    foreign = dict(low.foreign)
    if len(methods) == 2 and None not in methods and methods[0] != methods[1]:
        foreign = {key: str(methods[0]) for key in _settings(low)} | foreign
    given = _settings(high)
    gone = any((*OPTIMIZER[:n], "remove") in given for n in (1, 2))  # the whole table
    return {} if gone else {key: method for key, method in foreign.items() if key not in given}


def _settings(layer: Layer) -> list[Key]:
    """The keys of [generator.optimizer], and of the tables around it where they are removed."""
    keys: list[Key] = []
    table: Any = layer.data
    for n, name in enumerate(OPTIMIZER):
        table = table.get(name)
        if not isinstance(table, dict):
            break
        if removed(table) or n == len(OPTIMIZER) - 1:
            keys += [(*OPTIMIZER[: n + 1], key) for key in table]
    return keys


def merged(low: Any, high: Any) -> Any:
    """Plain tables, one over the other."""
    return _merge(low, high, (), set())


def removed(value: Any) -> bool:
    """Is it `{remove = true}`?"""
    return isinstance(value, dict) and len(value) == 1 and value.get("remove") is True  # and not 1


def _merge(low: Any, high: Any, at: Key, replaced: set[Key]) -> Any:
    if isinstance(low, list | tuple) and _numbers(high, len(low)):
        entries = list(low)
        for number, value in high.items():
            n = int(number)
            entries[n] = _merge(low[n], value, (*at, n), replaced)
        return entries
    tables = isinstance(low, dict) and isinstance(high, dict) and not removed(low) and not removed(high)
    if not tables or ("use" in high and "use" in low and high["use"] != low["use"]):
        replaced.add(at)
        return high
    over = dict(low)
    for key, value in high.items():
        over[key] = _merge(low[key], value, (*at, key), replaced) if key in low else value
    return over


def _numbers(table: Any, entries: int) -> bool:
    """Are all its keys numbers of entries?"""
    return (
        isinstance(table, dict)
        and bool(table)
        and all(key.isdecimal() and len(key) < 9 and int(key) < entries for key in table)
    )


def _numbered(key: Key, data: Any) -> Key:
    """The key with a number for the name of a list's entry."""
    numbered: list[str | int] = []
    for name in key:
        known = int(name) if isinstance(data, list | tuple) and isinstance(name, str) and name.isdecimal() else name
        numbered.append(known)
        try:
            data = data[known]
        except (LookupError, TypeError):  # beneath a value, or of an entry that is none
            data = None
    return tuple(numbered)


def _keys(value: Any, at: Key) -> list[Key]:
    """The key of every table, list entry and value beneath."""
    below: list[Key] = []
    if isinstance(value, dict):
        below = [key for name, inner in value.items() for key in _keys(inner, (*at, name))]
    elif isinstance(value, list | tuple):
        below = [key for n, inner in enumerate(value) for key in _keys(inner, (*at, n))]
    return [at, *below] if at else below


def override(layer: Layer, text: str) -> Layer | Problem:
    """The layer with "a.b.0.c=VALUE" over it, checked like a file; or why that cannot be."""
    name, equals, value = text.partition("=")
    parts = name.strip().split(".")
    if not text.isprintable():
        return Problem(SET.file, None, "", "has characters that cannot be printed")
    if not equals or not all(parts):
        return Problem(SET.file, None, "", f'"{text[:80]}" is not KEY=VALUE', "for example run.kimg=100")
    if len(parts) > MAX_DEPTH:
        return Problem(SET.file, None, "", f"nested deeper than {MAX_DEPTH}")
    new = _value(value.strip())
    origin = Origin(SET.file, None, text.file) if isinstance(text, Setting) else SET
    key, wrong = _place(layer.data, parts, _nested(parts, new))
    if wrong:
        return Problem(SET.file, None, key_text(key), wrong)
    for over in (REMOVED, new) if isinstance(new, dict) else (new,):  # a table that is given whole is no addition
        layer = overlay(layer, Layer(_nested(parts, over), {tuple(parts): origin}))
    origins = {key[:1]: origin} | layer.origins  # a table that is not in the file is of this place too
    return evolve(layer, origins=origins)


def _nested(parts: list[str], value: Any) -> Any:
    for part in reversed(parts):
        value = {part: value}
    return value


def _value(text: str) -> Any:
    """A TOML value; what is none is a plain string, so that device=cpu needs no quotes."""
    try:
        check_limits(text)
        table = tomllib.loads(f"value = {text}")
    except (TooMuch, ValueError, RecursionError):
        return text
    return table["value"] if set(table) == {"value"} else text


def _place(data: Any, parts: list[str], over: Any) -> tuple[Key, str]:
    """Numbers after the name of a list are its entries; the second part says why there is no such place."""
    key: Key = ()
    for name in parts:
        if removed(over):  # KEY.remove=true, whatever the key has for a value
            break
        if isinstance(data, list | tuple):
            if not (name.isdecimal() and len(name) < 9 and int(name) < len(data)):
                return (*key, name), f"{key_text(key)} has {len(data)} entries, numbered from 0"
            key, data = (*key, int(name)), data[int(name)]
        elif isinstance(data, dict):
            key, data = (*key, name), data.get(name, {})
        else:
            return (*key, name), f"{key_text(key)} is a value, not a table"
        over = over[name]
    return key, ""
