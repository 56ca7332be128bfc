"""Types and values in the words of a TOML file, for messages."""

from __future__ import annotations

import datetime
import json
import types
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from distillkit.api import Choice

LONGEST = 60  # characters of a value that a message repeats


def expected(type_: Any) -> str:
    """`int` -> "an integer"."""
    plain = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
    if type_ in plain:
        return plain[type_]
    if is_union(type_):
        return " or ".join(map(expected, arms(type_)))
    origin = get_origin(type_) or type_
    if origin is Choice:
        return "a table with use"
    if origin is Literal:
        return "one of " + ", ".join(shown(arm) for arm in get_args(type_))
    if origin in (list, tuple):
        inner = get_args(type_)
        whole = not inner or len(inner) == 1 or inner[-1] is Ellipsis
        return "a list" if whole else f"a list of {len(inner)}"
    return "a table" if origin is dict or attrs.has(origin) else "a value"


def got(value: Any) -> str:
    """ "64" -> the string "64"."""
    if isinstance(value, str):
        return f"the string {shown(value)}"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return shown(value)


def shown(value: Any) -> str:
    """A value as TOML has it, cut where it is long."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = quoted(value)
    elif isinstance(value, datetime.date | datetime.time):
        text = f"the date or time {value}"
    else:
        text = repr(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def quoted(text: str) -> str:
    """A string as TOML has it; what a terminal would obey, and letters that change the order of others, as escapes."""
    plain = json.dumps(text, ensure_ascii=False)  # TOML's escapes are JSON's, and \\U0001f600
    return "".join(
        c if c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 1 << 16 else f"\\U{ord(c):08x}" for c in plain
    )


def is_list(type_: Any) -> bool:
    """A list or tuple, perhaps None instead."""
    return plain_type(type_) in (list, tuple)


def is_table(type_: Any) -> bool:
    """A table of known keys, with or without `use`, perhaps None instead."""
    return plain_type(type_) is Choice or attrs.has(plain_type(type_))


def arms(type_: Any) -> list[Any]:
    """`int | str | None` -> int, str; a type that is no union is its only arm."""
    return [arm for arm in get_args(type_) if arm is not type(None)] if is_union(type_) else [type_]


def plain_type(type_: Any) -> Any:
    """`list[int] | None` -> list."""
    return get_origin(arms(type_)[0]) or arms(type_)[0]


def is_named(type_: Any) -> bool:
    """`str | Choice[K]`: a name of the engine's own, or a plugin's component."""
    return is_union(type_) and [get_origin(arm) or arm for arm in arms(type_)] == [str, Choice]


def is_union(type_: Any) -> bool:
    """`A | B` and Optional[A]."""
    return get_origin(type_) in (Union, types.UnionType)
