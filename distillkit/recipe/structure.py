"""Tables <-> frozen values by cattrs, strictly: no coercion, no ignored key, no problem that hides another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.errors import CattrsError
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from distillkit.api import KINDS, Choice, Component, Use
from distillkit.recipe.complaints import Refused
from distillkit.recipe.exact import Hook, exact, float_, literal, strict, tuple_, union
from distillkit.recipe.fields import fields, picks, use_table
from distillkit.recipe.shown import got, is_union
from distillkit.recipe.validate import every_problem
from distillkit.registry import Catalog, NotOffered, Unusable


def converter(catalog: Catalog) -> Converter:
    """cattrs as recipes need it; components are looked up in `catalog`. What it raises is for `complaints`."""
    made = Converter(unstruct_collection_overrides={tuple: list})
    made.register_structure_hook_func(lambda type_: type_ is not Any, exact)
    made.register_structure_hook_func(lambda type_: _base(type_) is Literal, literal)
    for type_ in (bool, int, str, bytes, Path):  # for which cattrs has hooks that coerce
        made.register_structure_hook(type_, exact)
    made.register_structure_hook(float, float_)
    made.register_structure_hook_factory(is_union, union)
    for fitting, shape, factory in (
        (lambda type_: _base(type_) is list, list | tuple, list_structure_factory),
        (lambda type_: _base(type_) is tuple, list | tuple, tuple_),
        (lambda type_: _base(type_) is dict, dict, mapping_structure_factory),
        (attrs.has, dict, _table),
        (_is_choice, dict | Use, partial(_choice, catalog=catalog)),
    ):
        made.register_structure_hook_factory(fitting, strict(shape, factory))
    made.register_unstructure_hook_factory(attrs.has, _plain_table)
    made.register_unstructure_hook_factory(_is_choice, _plain_choice)
    return made


def _base(type_: Any) -> Any:
    return get_origin(type_) or type_


def _is_choice(type_: Any) -> bool:
    return _base(type_) is Choice


def _table(cls: type, converter: Converter) -> Hook:
    """A table -> an instance of the attrs class."""
    names = {one.name: override(rename=key) for key, one in fields(cls).items()}
    hook = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, **names)
    defaults = picks(cls)

    def structure(table: dict[str, Any], _: Any) -> Any:
        table = {**defaults, **table}
        try:
            return hook(table, cls)
        except ClassValidationError as error:
            raise every_problem(error, table, converter) from None

    return structure


def _choice(type_: Any, converter: Converter, catalog: Catalog) -> Hook:
    """A table with `use` -> Choice: the kind's Slot keys are the engine's, the rest is the class's Config."""
    kind = get_args(type_)[0].kind

    def structure(value: dict[str, Any] | Use, _: Any) -> Choice[Any]:
        table = use_table(value) if isinstance(value, Use) else dict(value)
        name = table.pop("use", None)
        cls = _component(kind, name, converter, catalog)
        made: list[Any] = []
        errors: list[Exception] = []
        for part in (cls.Config, KINDS[kind].Slot):
            own = {key: table.pop(key) for key in fields(part) if key in table}
            try:
                made.append(converter.structure(own, part))
            except CattrsError as error:
                errors.append(error)
        if table:
            errors.insert(0, ForbiddenExtraKeysError("", cls, set(table)))
        if errors:
            raise ClassValidationError(f"{kind} {name}", errors, cls)
        return Choice(kind, name, cls, *made)

    return structure


def _component(kind: str, name: Any, converter: Converter, catalog: Catalog) -> type[Component]:
    if not isinstance(name, str):
        installed = f"installed: {', '.join(sorted({offer.name for offer in catalog.of(kind)}))}"
        raise Refused("missing" if name is None else f"expected a string, got {got(name)}", installed, at=("use",))
    try:
        cls = catalog.load(kind, name)
        converter.get_structure_hook(cls.Config)
    except (NotOffered, Unusable) as error:
        raise Refused(error.message, error.hint, at=("use",)) from None
    except NameError as error:
        message = f"the Config of {cls.__name__} has a type that cannot be read: {error}"
        raise Refused(message, at=("use",)) from None
    return cls


def _plain_table(cls: type, converter: Converter) -> Callable[[Any], dict[str, Any]]:
    names = {one.name: override(rename=key) for key, one in fields(cls).items()}
    hook = make_dict_unstructure_fn(cls, converter, **names)
    return lambda value: {key: part for key, part in hook(value).items() if part is not None}


def _plain_choice(_: Any, converter: Converter) -> Callable[[Any], dict[str, Any]]:
    plain = converter.unstructure
    return lambda choice: {"use": choice.name, **plain(choice.slot), **plain(choice.config)}
