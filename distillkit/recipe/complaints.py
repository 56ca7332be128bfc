"""The tree of errors that cattrs raises -> each problem's key, message and hint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, get_args, get_origin

import attrs
from cattrs import BaseValidationError, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote, CattrsError, IterableValidationNote

from distillkit.api import KINDS, Choice, Component
from distillkit.recipe.fields import fields
from distillkit.recipe.problem import Key
from distillkit.recipe.shown import expected, got, is_union, shown

_PLAIN = re.compile(r"true|false|-?\d{1,18}(\.\d{1,18})?(e-?\d{1,3})?")


class Unfit(CattrsError):
    """A value that is not of the type asked for."""

    def __init__(self, value: Any, type_: Any) -> None:
        super().__init__(value, type_)
        self.value, self.type = value, type_


class Refused(CattrsError):
    """A value that cannot be had for another reason, which may lie at a key below it."""

    def __init__(self, message: str, hint: str = "", at: Key = ()) -> None:
        super().__init__(message, hint)
        self.message, self.hint, self.at = message, hint, at


def complaints(
    error: Exception, key: Key = (), root: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[tuple[Key, str, str]]:
    """(key, message, hint) of every leaf of the tree; raises a leaf that is none of the user's making.

    cattrs notes on each error the attribute or entry that it came from, inner ones first.
    """
    kinds = (AttributeValidationNote, IterableValidationNote)
    notes = [note for note in reversed(getattr(error, "__notes__", [])) if isinstance(note, kinds)]
    key = (*key, *(note.name.rstrip("_") if isinstance(note, kinds[0]) else note.index for note in notes))
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from complaints(inner, key, root)
    elif isinstance(error, Refused):
        yield (*key, *error.at), error.message, error.hint
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            table = not key and isinstance(root.get(name), dict | list)
            yield (*key, name), "unknown table" if table else "unknown key", _known(name, error.cl)
    else:
        yield key, *_told(error, key, notes[-1] if notes else None)


def _told(error: Exception, key: Key, note: Any) -> tuple[str, str]:
    if isinstance(error, Unfit):
        return f"expected {expected(error.type)}, got {got(error.value)}", _hint(error.value, error.type, key)
    if isinstance(error, KeyError) and error.args == key[-1:]:
        table = get_origin(note.type) is Choice or attrs.has(note.type)
        return "missing", f"a table [{key[-1]}]" if table and len(key) == 1 else ""
    if isinstance(error, ValueError | TypeError):
        return _validator_told(error, note.name if note else "")
    raise error


def _validator_told(error: Exception, name: str) -> tuple[str, str]:
    message = str(error.args[0]) if error.args else type(error).__name__
    if len(error.args) == 4 and "' must be in " in message:  # attrs' in_: (text, attribute, options, value)
        _, _, options, value = error.args
        near = get_close_matches(str(value), [str(option) for option in options], n=1)
        hint = f"did you mean {shown(near[0])}?" if near and isinstance(value, str) else ""
        return f"must be one of {', '.join(shown(option) for option in options)}, got {shown(value)}", hint
    return message.removeprefix(f"'{name}' ").partition("\n")[0][:200], ""


def _known(name: str, cls: type) -> str:
    """The keys of a table, the nearest first."""
    component = issubclass(cls, Component)
    keys = ["use", *fields(KINDS[cls.kind].Slot), *fields(cls.Config)] if component else list(fields(cls))
    near = get_close_matches(name, keys, n=1)
    return (f"did you mean {near[0]}?   " if near else "") + f"keys here: {', '.join(keys)}"


def _hint(value: Any, type_: Any, key: Key) -> str:
    if is_union(type_):
        type_ = next(arm for arm in get_args(type_) if arm is not type(None))
    origin = get_origin(type_) or type_
    name = key[-1] if key else ""
    if origin in (list, tuple) and isinstance(value, dict) and len(key) == 1:
        return f"write [[{name}]]"
    if isinstance(value, list) and len(key) == 1 and (origin is Choice or attrs.has(origin)):
        return f"write [{name}]"
    if isinstance(value, str) and origin in (bool, int, float) and _PLAIN.fullmatch(value):
        return f"without quotes: {value}"
    return ""
