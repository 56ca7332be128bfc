"""The keys of an attrs class as a recipe spells them, and what a table leaves to their defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import attrs

from distillkit.api import Use
from distillkit.recipe.layer import merged, removed
from distillkit.recipe.shown import is_union

Plain = Callable[[Any], Any]  # an attrs value -> its table


def fields(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """Key -> attribute with its type, in the order of the class; `from_` in Python is `from` in TOML.

    Raises NameError for a type that its module does not import.
    """
    attrs.resolve_types(cls)
    return {one.name.rstrip("_"): one for one in attrs.fields(cls) if one.init}


def default(attribute: attrs.Attribute[Any]) -> Any:
    """The default value; NOTHING where there is none, and for one that is made from other values."""
    made: Any = attribute.default
    if not isinstance(made, attrs.Factory):  # type: ignore[arg-type]
        return made
    return attrs.NOTHING if made.takes_self else made.factory()


def use_table(use: Use) -> dict[str, Any]:
    """`Use("rbf", scales=...)` as the table that a recipe would have."""
    return {"use": use.name, **{name.rstrip("_"): value for name, value in use.keys.items()}}


def completed(known: Mapping[str, attrs.Attribute[Any]], table: Mapping[str, Any], plain: Plain) -> dict[str, Any]:
    """The table with the defaults that name components, which must be looked up as a recipe's are.

    A table over a default that is one as well keeps what it does not name. A removed key is None if it may be, and has
    its default if not.
    """
    found = {key: value for key, one in known.items() if _names_parts(value := default(one))}
    for key, value in table.items():
        attribute = known.get(key)
        if attribute is None or not removed(value):
            found[key] = value if attribute is None else merged(_default_table(attribute, plain), value)
        elif _may_be_none(attribute.type):
            found[key] = None
    return found


def _names_parts(value: Any) -> bool:
    return any(isinstance(part, Use) for part in (value if isinstance(value, list | tuple) else [value]))


def _default_table(attribute: attrs.Attribute[Any], plain: Plain) -> Any:
    """What the default would be in a recipe, if that is a table or a list of tables."""
    made = default(attribute)
    if isinstance(made, Use):
        return use_table(made)
    if isinstance(made, list | tuple):
        return [use_table(part) if isinstance(part, Use) else plain(part) for part in made]
    return plain(made) if made is not attrs.NOTHING and attrs.has(type(made)) else None


def _may_be_none(type_: Any) -> bool:
    return is_union(type_) and type(None) in get_args(type_)
