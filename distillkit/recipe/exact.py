"""cattrs hooks that take a TOML value only if it is exactly of the type; cattrs' own coerce."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

from cattrs import Converter
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.gen import make_hetero_tuple_structure_fn

from distillkit.recipe.complaints import Refused, Unfit

Hook = Callable[[Any, Any], Any]
Factory = Callable[[Any, Converter], Hook]


def exact(value: Any, type_: Any) -> Any:
    """A value of just that type: a bool is no number."""
    if type(value) is not type_:
        raise Unfit(value, type_)
    if type_ is int and not -(2**63) <= value < 2**63:
        raise Refused("is an integer of more than 64 bits")
    if type_ is float and math.isnan(value):
        raise Refused("nan is no value to work with")
    return value


def float_(value: Any, _: Any) -> float:
    return float(exact(value, int)) if type(value) is int else exact(value, float)


def literal(value: Any, type_: Any) -> Any:
    if not any(type(value) is type(arm) and value == arm for arm in get_args(type_)):
        raise Unfit(value, type_)
    return value


def strict(shape: Any, factory: Factory) -> Factory:
    """The factory, whose hooks are asked only for values of a Python type; cattrs' take any iterable."""

    def make(type_: Any, converter: Converter) -> Hook:
        hook = factory(type_, converter)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, shape):
                raise Unfit(value, type_)
            return hook(value, type_)

        return structure

    return make


def tuple_(type_: Any, converter: Converter) -> Hook:
    """Any number of entries, or one of each of the types."""
    arms = get_args(type_)
    if not arms or arms[-1] is Ellipsis:
        return homogenous_tuple_structure_factory(type_, converter)
    hook = make_hetero_tuple_structure_fn(type_, converter)

    def structure(value: list[Any] | tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        if len(value) != len(arms):
            raise Unfit(value, type_)
        return hook(value, type_)

    return structure


def union(type_: Any, converter: Converter) -> Hook:
    hooks = {arm: converter.get_structure_hook(arm) for arm in get_args(type_)}

    def structure(value: Any, _: Any) -> Any:
        for arm, hook in hooks.items():
            try:
                return hook(value, arm)
            except Unfit:
                continue
        raise Unfit(value, type_)

    return structure
