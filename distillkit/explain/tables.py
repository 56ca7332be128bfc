"""One page of explanation for each table of a recipe: those of components, and those of the engine."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import attrs
from attrs import field, frozen

from distillkit.api import KINDS, AuxiliaryLoss, Choice, GeneratorLoss, curves
from distillkit.api.slots import SLOTS
from distillkit.explain.keys import Key, keys_of, plain
from distillkit.recipe.keys import fields
from distillkit.recipe.schema import Tables
from distillkit.recipe.shown import plain_type
from distillkit.registry import Catalog, Offer, Unusable


@frozen(kw_only=True)
class Page:
    """What a person needs to write a table."""

    name: str  # that asks for it
    kind: str = ""  # whose components the table is for; empty: the engine's own
    origin: str = ""  # distribution and version
    text: str  # docstring
    keys: tuple[Key, ...]
    sets: dict[str, Any] = field(factory=dict)  # tables of a recipe that a method gives other defaults
    curves: dict[str, str] = field(factory=dict)  # what a loss logs, with a sentence on each
    deep: bool = True  # show the keys of tables within? Those of a whole recipe have pages of their own


def page_of(offer: Offer) -> Page:
    """A component's page; imports its module. Raises Unusable."""
    cls: Any = offer.load()
    try:
        keys = (*keys_of(cls.Config), *keys_of(SLOTS[offer.kind]))
    except NameError as error:
        raise Unusable(f"the Config of {cls.__name__} has a type that cannot be read: {error}") from error
    return Page(
        name=offer.name,
        kind=offer.kind,
        origin=f"{offer.dist} {offer.version}",
        text=_text(cls),
        keys=keys,
        sets=plain(cls.recipe_defaults) if issubclass(cls, GeneratorLoss) else {},
        curves=curves.of(cls) if issubclass(cls, GeneratorLoss | AuxiliaryLoss) else {},
    )


def pages_of(catalog: Catalog) -> tuple[list[Page], list[Unusable]]:
    """The pages of all that is installed, by kind and name, and why others have none."""
    pages, unusable = [], []
    for offer in catalog.offers:
        try:
            pages.append(page_of(offer))
        except Unusable as error:
            unusable.append(error)
    return pages, unusable


def engine_pages() -> dict[str, Page]:
    """Pages of the tables that no plugin makes, and of what the engine adds to the table of each kind."""
    own = {"recipe": Tables, **dict(_tables(Tables))}
    pages = {name: Page(name=name, text=_text(cls), keys=keys_of(cls)) for name, cls in own.items()}
    pages["recipe"] = attrs.evolve(pages["recipe"], deep=False)
    kinds = {kind: Page(name=kind, kind=kind, text=gloss(kind), keys=keys_of(SLOTS[kind])) for kind in KINDS}
    return kinds | pages  # a table of the engine comes before the kind of that name, which one of its keys picks


def _tables(cls: type) -> Iterator[tuple[str, type]]:
    """Key and class of every table within that has no `use`."""
    for key, attribute in fields(cls).items():
        inner = plain_type(attribute.type)
        if attrs.has(inner) and inner is not Choice:
            yield key, inner
            yield from _tables(inner)


def gloss(kind: str) -> str:
    """What the kind is, in the words of its base class."""
    return (KINDS[kind].__doc__ or "").partition("\n")[0].partition(";")[0].rstrip(".")


def _text(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "")
