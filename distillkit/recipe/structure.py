"""Tables <-> frozen values by cattrs, strictly: no coercion, no ignored key, no problem that hides another."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache, partial
from typing import Any, get_args, get_origin

import attrs
from cattrs import Converter

from distillkit.api import KINDS, Choice, Component, Use
from distillkit.api.deprecated import deprecated
from distillkit.api.keys import may_be_infinite
from distillkit.api.slots import SLOTS
from distillkit.recipe.keys import completed, default, fields, use_table
from distillkit.recipe.layer import REMOVED, removed
from distillkit.recipe.shown import arms, got, is_named, shown
from distillkit.recipe.values import (
    Complaint,
    Hook,
    Misfit,
    Unfit,
    Wrong,
    infinite,
    of_numbers,
    reader,
    register_values,
)
from distillkit.registry import Catalog, NotOffered, Unusable
from distillkit.registry.known import KNOWN

ROOM = 230  # characters of a line for the keys that there are


@lru_cache(maxsize=8)  # a converter makes a reader of each class once
def converter(catalog: Catalog) -> Converter:
    """cattrs as recipes need it; components are looked up in `catalog`. Reading with it raises Misfit."""
    made = Converter(unstruct_collection_overrides={tuple: list})
    register_values(made)
    made.register_structure_hook_factory(attrs.has, _table)
    made.register_structure_hook_factory(_is_choice, partial(_choice, catalog=catalog))
    made.register_structure_hook_factory(is_named, partial(_named, catalog=catalog))
    made.register_unstructure_hook_factory(attrs.has, _plain_table)
    made.register_unstructure_hook_factory(_is_choice, _plain_choice)
    return made


def _is_choice(type_: Any) -> bool:
    return (get_origin(type_) or type_) is Choice


def _table(cls: type, converter: Converter) -> Hook:
    """A table -> an instance of the attrs class."""
    known = fields(cls)
    readers = {key: reader(one.type, converter) for key, one in known.items()}

    def structure(given: Any, _: Any) -> Any:
        if not isinstance(given, dict):
            raise Unfit(given, cls)
        table, wrong = completed(known, given, converter.unstructure), Wrong()
        values: dict[str, Any] = {}
        for key, one in known.items():
            if key in table:
                with wrong.at(key):
                    values[one.name] = _finite(readers[key](table[key]), one)
            elif one.default is attrs.NOTHING:
                wrong.append(((key,), "missing", ""))
        wrong += _unknown(table, list(known))
        return _built(cls, table, values, wrong)

    return structure


def _finite(value: Any, one: attrs.Attribute[Any]) -> Any:
    """The value of an attribute. Raises Misfit for infinity, unless that has a meaning there."""
    if of_numbers(one.type) and not may_be_infinite(one) and (places := list(infinite(value))):
        hint, made = "", default(one)
        if made is None:
            hint = "{remove = true} unsets it"
        elif made is not attrs.NOTHING:
            hint = f"its default is {shown(list(made) if isinstance(made, tuple) else made)}"
        raise Misfit(*((at, f"must be finite, got {found}", hint) for at, found in places))
    return value


def _unknown(table: Mapping[str, Any], keys: list[str]) -> Iterator[Complaint]:
    for key in sorted(table.keys() - set(keys)):
        near = get_close_matches(key, keys, n=1)
        yield (key,), "unknown key", (f"did you mean {near[0]}?   " if near else "") + f"keys here: {some(keys)}"


def some(keys: Sequence[str]) -> str:
    """As many of the keys as a line has room for."""
    shown = ", ".join(keys)
    return shown if len(shown) <= ROOM else f"{shown[:ROOM].rpartition(', ')[0]}, ..."


def _built(cls: type, table: Mapping[str, Any], values: dict[str, Any], wrong: Wrong) -> Any:
    """The instance of what was read of a table. Raises Misfit for what was wrong before, and what validators refuse."""
    whole: list[Complaint] = []
    if not wrong:
        try:
            return cls(**values)
        except (ValueError, TypeError) as error:
            whole = [((), *_told(error, ""))]
    # attrs stops at the first that refuses: each is asked about what the table gives, and sees all that is sound.
    probe: Any = object.__new__(cls)
    for key, one in fields(cls).items():
        value = values.get(one.name, attrs.NOTHING if key in table else default(one))
        if value is not attrs.NOTHING:
            object.__setattr__(probe, one.name, value)
    for key, one in fields(cls).items():
        if key in table and one.name in values and one.validator and not one.converter:
            try:
                one.validator(probe, one, values[one.name])
            except (ValueError, TypeError) as error:
                wrong.append(((key,), *_told(error, one.name)))
            except AttributeError:  # it asks for a neighbour that has a problem itself
                continue
    raise Misfit(*(wrong or whole), sound=values)


def _told(error: Exception, name: str) -> tuple[str, str]:
    """Message and hint of what the validator of an attribute raised."""
    if len(error.args) == 4 and "' must be in " in str(error.args[0]):  # attrs' in_: (text, attribute, options, value)
        _, _, options, value = error.args
        near = get_close_matches(str(value), [str(option) for option in options], n=1)
        hint = f"did you mean {shown(near[0])}?" if near and isinstance(value, str) else ""
        return f"must be one of {', '.join(shown(option) for option in options)}, got {shown(value)}", hint
    message = str(error.args[0]) if error.args else type(error).__name__
    if re.fullmatch(rf"Length of '{name}' must be >= 1: 0", message):  # attrs' min_len
        return "must not be empty", ""
    return message.removeprefix(f"'{name}' ").partition("\n")[0][:200], ""


def _choice(type_: Any, converter: Converter, catalog: Catalog) -> Hook:
    """A table with `use` -> Choice: the kind's Slot keys are the engine's, the rest is the class's Config."""
    kind = get_args(type_)[0].kind

    def structure(value: Any, _: Any) -> Choice[Any]:
        if not isinstance(value, dict | Use):
            raise Unfit(value, type_)
        table = use_table(value) if isinstance(value, Use) else dict(value)
        name = table.pop("use", None)
        cls = _component(kind, name, converter, catalog)
        if cls.renamed is not None:
            deprecated(f"{kind} {shown(name)}", f"use = {shown(cls.renamed)}")
            name, cls = cls.renamed, _component(kind, cls.renamed, converter, catalog)
        parts = (SLOTS[kind], cls.Config)
        keys = ["use", *(key for part in parts for key in fields(part))]
        wrong, made = Wrong(_unknown(table, keys)), list[Any]()
        for part in parts:
            with wrong.at():
                made.append(converter.structure({key: table[key] for key in fields(part) if key in table}, part))
        if wrong:
            raise Misfit(*wrong)
        slot, config = made
        return Choice(kind, name, cls, config, slot)

    return structure


def _component(kind: str, name: Any, converter: Converter, catalog: Catalog) -> type[Component]:
    if not isinstance(name, str):
        installed = f"installed: {', '.join(sorted({offer.name for offer in catalog.of(kind)}))}"
        message = "missing" if name is None or removed(name) else f"expected a string, got {got(name)}"
        raise Misfit((("use",), message, installed))
    try:
        cls = catalog.load(kind, name)
        converter.get_structure_hook(cls.Config)
    except (NotOffered, Unusable) as error:
        raise Misfit((("use",), error.message, error.hint)) from None
    except NameError as error:
        message = f"the Config of {cls.__name__} has a type that cannot be read: {error}"
        raise Misfit((("use",), message, "")) from None
    return cls


def _named(type_: Any, converter: Converter, catalog: Catalog) -> Hook:
    """A name of the engine's own, or a plugin's component: by its name alone, or a table with `use`."""
    choice = arms(type_)[1]
    kind = get_args(choice)[0].kind
    own, read = names_of(kind), reader(choice, converter)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, str):
            if not isinstance(value, dict | Use):
                raise Unfit(value, type_)
            if isinstance(value, dict) and (name := value.get("use")) in own:
                raise Misfit((("use",), f"{shown(name)} is the engine's, and no table", f"write {shown(name)} alone"))
            return read(value)
        if value in own:
            return value
        offered = sorted({offer.name for offer in catalog.of(kind)})
        if value not in offered:
            names = [*own, *offered]
            near = get_close_matches(value, names, n=1)
            hint = f"did you mean {shown(near[0])}?" if near else ""
            if (kind, value) in KNOWN:
                hint = catalog.instead(kind, value).partition("   ")[0]
            raise Misfit(((), f"must be one of {', '.join(map(shown, names))}, got {shown(value)}", hint))
        try:
            return read({"use": value})
        except Misfit as misfit:  # the value has no keys that could be pointed at
            told = [(": ".join(map(str, (*at, text))), hint) for at, text, hint in misfit.complaints]
            raise Misfit(*[((), text, hint) for text, hint in told]) from None

    return structure


def names_of(kind: str) -> tuple[str, ...]:
    """The engine's own names where components of the kind are named beside such."""
    names: tuple[str, ...] = getattr(KINDS[kind], "own", ())
    return names


def _plain_table(cls: type, converter: Converter) -> Callable[[Any], dict[str, Any]]:
    """An instance -> its table, without what is None unless the default is not."""
    known = fields(cls)

    def unstructure(value: Any) -> dict[str, Any]:
        plain = {key: converter.unstructure(getattr(value, one.name)) for key, one in known.items()}
        off = [key for key, part in plain.items() if part is None and default(known[key]) not in (None, attrs.NOTHING)]
        return {key: part for key, part in plain.items() if part is not None} | dict.fromkeys(off, REMOVED)

    return unstructure


def _plain_choice(_: Any, converter: Converter) -> Callable[[Any], dict[str, Any]]:
    plain = converter.unstructure
    return lambda choice: {"use": choice.name, **plain(choice.slot), **plain(choice.config)}
