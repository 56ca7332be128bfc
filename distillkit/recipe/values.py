"""Hooks of cattrs that take a TOML value only if it is exactly of the type (cattrs' own coerce), and say why not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from cattrs import Converter

from distillkit.recipe.layer import removed
from distillkit.recipe.problem import Key
from distillkit.recipe.shown import expected, got, is_union, plain_type, shown

Hook = Callable[[Any, Any], Any]
Reader = Callable[[Any], Any]
Complaint = tuple[Key, str, str]  # key below the value that was asked for, message, hint

_PLAIN = re.compile(r"true|false|-?\d{1,18}(\.\d{1,18})?(e-?\d{1,3})?")


class Misfit(Exception):
    """A value that cannot be had: all that is wrong with it; of a table also what is `sound`, by attribute."""

    def __init__(self, *complaints: Complaint, sound: dict[str, Any] | None = None) -> None:
        super().__init__(*complaints)
        self.complaints, self.sound = complaints, sound or {}


class Unfit(Misfit):
    """A value of another type altogether, which another arm of a union may take."""

    def __init__(self, value: Any, type_: Any) -> None:
        bare = isinstance(value, str) and plain_type(type_) in (bool, int, float) and _PLAIN.fullmatch(value)
        hint = f"without quotes: {value}" if bare else ""
        if isinstance(value, str) and expected(type_) == "a table with use":
            hint = f"its name is the key use within: use = {shown(value)}"
        super().__init__(((), f"expected {expected(type_)}, got {got(value)}", hint))


class Wrong(list[Complaint]):
    """What is wrong with the parts of a value, so that one problem does not hide the next."""

    @contextmanager
    def at(self, *key: str | int) -> Iterator[None]:
        """Keep the complaints of a Misfit, as those of the part at `key`."""
        try:
            yield
        except Misfit as misfit:
            self += [((*key, *below), message, hint) for below, message, hint in misfit.complaints]


def register_values(converter: Converter) -> None:
    """Its hooks for all that is no table."""
    converter.register_structure_hook_func(lambda type_: type_ is not Any, exact)
    converter.register_structure_hook_func(lambda type_: _base(type_) is Literal, literal)
    for type_ in (bool, int, str, bytes, Path):  # for which cattrs has hooks that coerce
        converter.register_structure_hook(type_, exact)
    converter.register_structure_hook(float, float_)
    converter.register_structure_hook_factory(is_union, union)
    converter.register_structure_hook_factory(lambda type_: _base(type_) in (list, tuple), entries)
    converter.register_structure_hook_factory(lambda type_: _base(type_) is dict, dictionary)


def reader(type_: Any, converter: Converter) -> Reader:
    """What reads a value of the type; looked up at the last moment where the type holds itself."""
    try:
        hook = converter.get_structure_hook(type_)
    except RecursionError:
        hook = converter.structure
    return lambda value: hook(value, type_)


def _base(type_: Any) -> Any:
    return get_origin(type_) or type_


def exact(value: Any, type_: Any) -> Any:
    """A value of just that type: a bool is no number."""
    if type(value) is not type_:
        raise Unfit(value, type_)
    if type_ is int and not -(2**63) <= value < 2**63:
        raise Misfit(((), "is an integer of more than 64 bits", ""))
    if type_ is float and math.isnan(value):
        raise Misfit(((), "nan is no value to work with", ""))
    return value


def of_numbers(type_: Any) -> bool:
    """Is there a float in values of the type?"""
    return type_ is float or any(map(of_numbers, get_args(type_)))


def infinite(value: Any) -> Iterator[tuple[Key, float]]:
    """The infinite numbers of a value that was read, in lists and dictionaries too, with their places in it."""
    if isinstance(value, float) and math.isinf(value):
        yield (), value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for place, part in parts:
        yield from (((place, *below), found) for below, found in infinite(part))


def float_(value: Any, _: Any) -> float:
    return float(exact(value, int if type(value) is int else float))


def literal(value: Any, type_: Any) -> Any:
    if not any(type(value) is type(arm) and value == arm for arm in get_args(type_)):
        raise Unfit(value, type_)
    return value


def union(type_: Any, converter: Converter) -> Hook:
    arms = [reader(arm, converter) for arm in get_args(type_)]

    def structure(value: Any, _: Any) -> Any:
        for read in arms:
            try:
                return read(value)
            except Unfit:
                continue
        raise Unfit(value, type_)

    return structure


def entries(type_: Any, converter: Converter) -> Hook:
    """A list or tuple: any number of entries, or one of each of the types."""
    made = _base(type_)
    arms = get_args(type_) or (Any,)
    several = made is tuple and get_args(type_) and arms[-1] is not Ellipsis
    readers = [reader(arm, converter) for arm in (arms if several else arms[:1])]

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise Unfit(value, type_)
        kept = [(n, part) for n, part in enumerate(value) if not removed(part)]
        if several and len(kept) != len(readers):
            raise Unfit([part for _, part in kept], type_)
        return made(_each(kept, readers if several else readers * len(kept)))

    return structure


def dictionary(type_: Any, converter: Converter) -> Hook:
    read = reader((get_args(type_) or (str, Any))[1], converter)

    def structure(value: Any, _: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Unfit(value, type_)
        kept = {key: part for key, part in value.items() if not removed(part)}
        return dict(zip(kept, _each(kept.items(), [read] * len(kept)), strict=True))

    return structure


def _each(parts: Iterable[tuple[Any, Any]], readers: Iterable[Reader]) -> list[Any]:
    """The entries (place, value), read. Raises Misfit for all that cannot be."""
    wrong, made = Wrong(), []
    for (place, value), read in zip(parts, readers, strict=True):
        with wrong.at(place):
            made.append(read(value))
    if wrong:
        raise Misfit(*wrong)
    return made
