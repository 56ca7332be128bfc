"""The keys of an attrs class as a recipe spells them."""

from __future__ import annotations

from typing import Any, get_type_hints

import attrs
from attrs import frozen

from distillkit.api import Use


@frozen
class Field:
    """One key: `from_` in Python is `from` in TOML."""

    key: str
    name: str
    type: Any
    attribute: attrs.Attribute[Any]

    @property
    def required(self) -> bool:
        return self.attribute.default is attrs.NOTHING

    def pick(self) -> Any:
        """The default if it names components by `Use`, which must be looked up like a recipe's; else None."""
        default = self.attribute.default
        if isinstance(default, attrs.Factory) and not default.takes_self:  # type: ignore[arg-type]
            default = default.factory()
        many = isinstance(default, list | tuple)
        return default if isinstance(default, Use) or (many and any(isinstance(d, Use) for d in default)) else None


def fields(cls: type) -> dict[str, Field]:
    """Key -> field, in the order of the class. Raises NameError for a type that its module does not import."""
    hints = get_type_hints(cls)
    found = (Field(a.name.rstrip("_"), a.name, hints[a.name], a) for a in attrs.fields(cls) if a.init)
    return {one.key: one for one in found}


def use_table(use: Use) -> dict[str, Any]:
    """`Use("rbf", scales=...)` as the table that a recipe would have."""
    return {"use": use.name, **{name.rstrip("_"): value for name, value in use.keys.items()}}
