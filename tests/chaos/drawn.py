"""Random values for the keys of recipes: by their types and limits, as `distillkit plugins NAME` shows them."""

from __future__ import annotations

import random
from functools import cache
from typing import Any, Literal, get_args, get_origin

import attrs

from distillkit.api import Choice
from distillkit.explain.keys import Key
from distillkit.explain.limits import Limits
from distillkit.explain.tables import Page, page_of
from distillkit.recipe.shown import arms
from distillkit.registry import Catalog

NUMBERS = (0, 1, 2, 3, 4, 8, 16)  # of things: more of them take too long
REALS = (0.0, 1e-30, 1e-6, 1e-3, 0.1, 0.5, 1.0, 2.0, 80.0, 1e6, 1e30)
WORDS = ("", "x", "nothing-like-it", "conv*", "*")


@cache
def names(kind: str) -> tuple[str, ...]:
    """The components of a kind."""
    return tuple(sorted({offer.name for offer in Catalog.installed().of(kind)}))


@cache
def page(kind: str, name: str) -> Page:
    """What a person can know of a component's table."""
    return page_of(next(offer for offer in Catalog.installed().of(kind) if offer.name == name))


def component(rng: random.Random, kind: str, among: tuple[str, ...] = ()) -> dict[str, Any]:
    """A table with `use`: one `among` these, or of all that are installed of the kind."""
    return {"use": rng.choice(among or names(kind))}


def value(rng: random.Random, key: Key) -> Any:
    """A value that the key may have, or just may not; None: it is left out."""
    several = [arm for arm in arms(key.type) if arm is not type(None)]
    if len(several) < len(arms(key.type)) and rng.random() < 0.2:
        return None
    return of_type(rng, rng.choice(several), key.limits, key.keys)


def of_type(rng: random.Random, type_: Any, limits: Limits, keys: tuple[Key, ...] = ()) -> Any:
    base, inner = get_origin(type_) or type_, get_args(type_)
    if base is Literal:
        return rng.choice(inner)
    if base is Choice:
        return component(rng, inner[0].kind)
    if base in (list, tuple):
        fixed = base is tuple and inner and inner[-1] is not Ellipsis
        types = inner if fixed else [inner[0]] * rng.choice((0, 1, 1, 2, 2, 3))
        return [of_type(rng, one, limits.entries or Limits()) for one in types]
    if attrs.has(base):
        return {key.name: made for key in keys if rng.random() < 0.3 and (made := value(rng, key)) is not None}
    if choices := limits.of(base):
        return rng.choice(choices)
    return plain(rng, base, limits)


def plain(rng: random.Random, base: Any, limits: Limits) -> Any:
    """A number near or within its bounds, and now and then one outside; a flag; a word."""
    if base is bool:
        return rng.random() < 0.5
    if base is str:
        return rng.choice(WORDS)
    ends = [bound for _, bound in limits.bounds if abs(bound) < 1e9]
    if base is int:
        return int(rng.choice((*NUMBERS, *(end + rng.choice((-1, 0, 1)) for end in ends))))
    likely = [number for number in REALS if all(fits(number, *bound) for bound in limits.bounds)]
    if likely and rng.random() < 0.9:
        return float(rng.choice(likely))
    return float(rng.choice((-1.0, *REALS, *ends)))


def fits(number: float, sign: str, bound: float) -> bool:
    return {">=": number >= bound, ">": number > bound, "<=": number <= bound, "<": number < bound}[sign]
