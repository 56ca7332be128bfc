"""What the validators of an attribute allow, as far as they are attrs' own or have the same attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class Limits:
    """Bounds such as (">=", 0); the only values there are; the number of entries or characters; limits of entries;
    whether infinity is allowed."""

    bounds: tuple[tuple[str, float], ...] = ()
    choices: tuple[Any, ...] = ()
    shortest: int = 0
    longest: int | None = None
    pattern: str = ""
    entries: Limits | None = None
    infinite: bool = False

    def of(self, type_: Any) -> list[Any]:
        """The choices of a type: "auto" is none where a number stands."""
        kinds = {str: str, int: int, float: int | float}
        return [one for one in self.choices if type_ in kinds and isinstance(one, kinds[type_])]


def limits(validator: Any) -> Limits:
    """The limits that a validator sets, alone or through others; what a function checks cannot be seen."""
    found: dict[str, Any] = {"bounds": ()}
    for one in _each(validator):
        if isinstance(getattr(one, "options", None), list | tuple | set | frozenset):
            found["choices"] = tuple(one.options)
        if hasattr(one, "compare_op"):
            found["bounds"] += ((one.compare_op, one.bound),)
        if hasattr(one, "member_validator"):
            found["entries"] = limits(one.member_validator)
        if hasattr(one, "pattern"):
            found["pattern"] = one.pattern.pattern
        found["shortest"] = getattr(one, "min_length", found.get("shortest", 0))
        found["longest"] = getattr(one, "max_length", found.get("longest"))
    return Limits(**found)


def _each(validator: Any) -> Iterator[Any]:
    """A validator, and those within and_, optional and deep_iterable; not_ turns its own around, and is left alone."""
    inner = [*getattr(validator, "_validators", ()), getattr(validator, "iterable_validator", None)]
    if not hasattr(validator, "exc_types"):
        inner.append(getattr(validator, "validator", None))
    yield validator
    for one in inner:
        if one is not None:
            yield from _each(one)
