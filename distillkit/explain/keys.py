"""The keys of a table: type, limits, default and meaning."""

from __future__ import annotations

from typing import Any

import attrs
from attrs import frozen

from distillkit.api import Choice, Use
from distillkit.api.keys import may_be_infinite
from distillkit.explain.limits import Limits, limits
from distillkit.explain.meanings import meanings
from distillkit.recipe.keys import default, fields, use_table
from distillkit.recipe.shown import plain_type
from distillkit.recipe.write import table_of


@frozen(kw_only=True)
class Key:
    """What can stand before `=` in a table, and what can stand behind it."""

    name: str
    type: Any  # as its class has it
    limits: Limits
    required: bool
    default: Any = None  # as TOML would hold it; None: unset
    meaning: str = ""
    keys: tuple[Key, ...] = ()  # of a table within, which has no `use`


def keys_of(cls: type, made: Any = None) -> tuple[Key, ...]:
    """The keys of an attrs class, with the values of `made`, an instance of it, for defaults.

    Raises NameError for a type that its module does not import.
    """
    texts = meanings(cls)
    return tuple(_key(name, one, getattr(made, one.name, default(one)), texts) for name, one in fields(cls).items())


def _key(name: str, attribute: attrs.Attribute[Any], value: Any, texts: dict[str, str]) -> Key:
    inner = plain_type(attribute.type)
    nested = attrs.has(inner) and inner is not Choice
    return Key(
        name=name,
        type=attribute.type,
        limits=attrs.evolve(limits(attribute.validator), infinite=may_be_infinite(attribute)),
        required=attribute.default is attrs.NOTHING,
        default=None if value is attrs.NOTHING else plain(value),
        meaning=texts.get(attribute.name, ""),
        keys=keys_of(inner, value if isinstance(value, inner) else None) if nested else (),
    )


def plain(value: Any) -> Any:
    """A default as TOML would hold it."""
    if isinstance(value, Use):
        return plain(use_table(value))
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return table_of(value)
