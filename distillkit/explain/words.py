"""Types and values of keys in the words of a TOML file, and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

import attrs

from distillkit.api import Choice
from distillkit.explain.keys import Key
from distillkit.explain.limits import Limits
from distillkit.recipe.shown import arms, is_named, shown
from distillkit.recipe.structure import names_of
from distillkit.recipe.write import value_text

PLAIN = {bool: "true or false", int: "integer", float: "number", str: "string"}


def type_text(key: Key) -> str:
    """Such as: number > 0; "mean" or "median"; list of 2 numbers >= 0; kernel table."""
    return _words(key.type, key.limits)


def default_text(key: Key) -> str:
    """As a recipe would have it; empty for a table whose keys have defaults of their own."""
    if key.required:
        return "required"
    if key.default is None:
        return "unset"
    return "" if key.keys else value_text(_bare(key.default))


def _bare(value: Any) -> Any:
    """The value with 2.0 as 2, which reads the same where a number is wanted."""
    if isinstance(value, dict):
        return {name: _bare(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_bare(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def bounds(limits: Limits) -> list[str]:
    """Such as: >= 0."""
    return [f"{sign} {value_text(bound)}" for sign, bound in limits.bounds if math.isfinite(bound)]


def as_json(key: Key) -> dict[str, Any]:
    """For programs; `default` is absent where the key is required, and null where it is unset."""
    limits = key.limits.entries or key.limits
    told: dict[str, Any] = {"key": key.name, "type": type_text(key), "required": key.required}
    if not key.required:
        told["default"] = finite(key.default)
    told |= {"bounds": bounds(limits), "choices": list(key.limits.choices), "kind": kind_of(key.type)}
    return told | {"meaning": key.meaning, "keys": [as_json(inner) for inner in key.keys]}


def finite(value: Any) -> Any:
    """The value with "inf" for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return value_text(value) if isinstance(value, float) and not math.isfinite(value) else value


def kind_of(type_: Any) -> str:
    """The kind of the components that a key names; empty where it names none."""
    if get_origin(type_) is Choice:
        kind: str = get_args(type_)[0].kind
        return kind
    return next(filter(None, map(kind_of, get_args(type_))), "")


def _words(type_: Any, limits: Limits, many: bool = False) -> str:
    """What may be there, or several of it."""
    if is_named(type_):
        kind = kind_of(type_)
        return f"{', '.join(map(shown, names_of(kind)))} or {kind} of a plugin"
    return " or ".join(_arm(arm, limits, many) for arm in arms(type_))


def _arm(type_: Any, limits: Limits, many: bool) -> str:
    base, inner = get_origin(type_) or type_, get_args(type_)
    choices = inner if base is Literal else limits.of(base)
    if choices:
        return _listed(choices)
    if base in (list, tuple):
        return _entries(base, inner, limits, many)
    s = "s" if many and base is not bool else ""
    if base in (int, float):
        told = " ".join([PLAIN[base] + s, " and ".join(bounds(limits))]).strip()
        return f"{told} or inf" if base is float and limits.infinite else told
    if base is Choice:
        return f"{inner[0].kind if inner else 'component'} table{s}"
    of = f" of {_words(inner[1], Limits(), many=True)}" if base is dict and inner else ""
    return ("table" if base is dict or attrs.has(base) else PLAIN.get(base, "value")) + s + of


def _entries(base: type, inner: tuple[Any, ...], limits: Limits, many: bool) -> str:
    fixed = base is tuple and inner and inner[-1] is not Ellipsis
    same = bool(inner) and (not fixed or len(set(inner)) == 1)
    entries = _words(inner[0], limits.entries or Limits(), many=True) if same else "values"
    number = f"{len(inner)} " if fixed else f"{limits.shortest} or more " if limits.shortest else ""
    return f"list{'s' * many} of {number}{entries}"


def _listed(choices: Sequence[Any]) -> str:
    *others, last = (shown(choice) for choice in choices)
    return f"{', '.join(others)} or {last}" if others else last
