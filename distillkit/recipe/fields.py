"""The keys of an attrs class as a recipe spells them."""

from __future__ import annotations

from typing import Any

import attrs

from distillkit.api import Use


def fields(cls: type) -> dict[str, attrs.Attribute[Any]]:
    """Key -> attribute with its type, in the order of the class; `from_` in Python is `from` in TOML.

    Raises NameError for a type that its module does not import.
    """
    attrs.resolve_types(cls)  # type: ignore[type-var]
    return {one.name.rstrip("_"): one for one in attrs.fields(cls) if one.init}


def default(attribute: attrs.Attribute[Any]) -> Any:
    """The default value; NOTHING where there is none, and for one that is made from other values."""
    made = attribute.default
    if not isinstance(made, attrs.Factory):  # type: ignore[arg-type]
        return made
    return attrs.NOTHING if made.takes_self else made.factory()


def picks(cls: type) -> dict[str, Any]:
    """Key -> default of the keys that name components by `Use`, which must be looked up like a recipe's."""
    found = {key: default(one) for key, one in fields(cls).items()}
    many = {key: value if isinstance(value, list | tuple) else [value] for key, value in found.items()}
    return {key: found[key] for key, parts in many.items() if any(isinstance(part, Use) for part in parts)}


def use_table(use: Use) -> dict[str, Any]:
    """`Use("rbf", scales=...)` as the table that a recipe would have."""
    return {"use": use.name, **{name.rstrip("_"): value for name, value in use.keys.items()}}
