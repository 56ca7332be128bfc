"""One short number for all that decides a run's result, so that a finished run can be found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from distillkit import __version__
from distillkit.api import Choice
from distillkit.api.keys import AS_BEFORE, changes_bits
from distillkit.recipe.keys import fields
from distillkit.recipe.schema import Recipe, Run, Tables
from distillkit.recipe.write import table_of
from distillkit.registry import Catalog
from distillkit.registry.numerics import FIRST, own_numerics

# Keys of [run] that change where, how fast and how visibly a run is computed, but not its result.
WITHOUT_EFFECT_ON_RESULT = tuple(key for key, attribute in fields(Run).items() if not changes_bits(attribute))


def fingerprint(recipe: Recipe, prints: Mapping[str, str], numerics: Mapping[str, str]) -> str:
    """16 hex digits of the resolved recipe, `numerics`, and `prints`: those of the recipes it starts from, by file."""
    data = decisive(recipe)
    for table, file in recipe.starts_from.items():
        data[table]["from"] = prints[file]
    text = json.dumps({"recipe": data, "versions": dict(numerics)}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def decisive(recipe: Recipe) -> dict[str, Any]:
    """The tables of a recipe with what decides its result alone.

    Without what is None, what changes no bit, and what an earlier release did not have and is as it was then.
    2.0 is 2: a default may be an integer where a recipe's number becomes a float.
    """
    return _table(Tables, recipe)


def _table(cls: type, value: Any) -> dict[str, Any]:
    parts = {key: (attribute, getattr(value, attribute.name)) for key, attribute in fields(cls).items()}
    return {key: _decisive(part) for key, (attribute, part) in parts.items() if _counts(attribute, part)}


def _counts(attribute: attrs.Attribute[Any], value: Any) -> bool:
    if value is None or not changes_bits(attribute):
        return False
    return AS_BEFORE not in attribute.metadata or bool(attribute.metadata[AS_BEFORE] != value)


def _decisive(value: Any) -> Any:
    if isinstance(value, Choice):
        slot = {} if value.slot is None else _decisive(value.slot)
        name = value.name if value.cls.hashed_as is None else value.cls.hashed_as[0]
        return {"use": name, **slot, **_decisive(value.config)}
    if attrs.has(type(value)):
        return _table(type(value), value)
    if isinstance(value, dict):
        return {key: _decisive(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_decisive(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else table_of(value)


def used_distributions(recipe: Recipe, catalog: Catalog) -> dict[str, str]:
    """Name -> version of distillkit and of each distribution whose components the recipe uses, nested ones too."""
    offers = [catalog.find(choice.kind, choice.name) for choice in choices(recipe)]
    return dict(sorted({"distillkit": __version__, **{offer.dist: offer.version for offer in offers}}.items()))


def used_numerics(recipe: Recipe, catalog: Catalog) -> dict[str, str]:
    """Of the same distributions: what stands for the bits that each computes."""
    return dict(sorted({("distillkit", own_numerics()), *(_numerics(one, catalog) for one in choices(recipe))}))


def _numerics(choice: Choice[Any], catalog: Catalog) -> tuple[str, str]:
    if choice.cls.hashed_as is None:
        offer = catalog.find(choice.kind, choice.name)
        return offer.dist, offer.numerics
    dist = choice.cls.hashed_as[1]
    # By a class of its own: one that it offers of ours has our number. Without it none of its bits are in the run.
    theirs = (one for one in catalog.offers if one.dist == dist and not one.target.startswith("distillkit."))
    return dist, next((one.numerics for one in theirs), FIRST)


def choices(value: Any) -> Iterator[Choice[Any]]:
    """Every Choice inside a recipe or a config that may change a result, outer before inner."""
    if isinstance(value, Choice):
        yield value
        yield from choices(value.slot)
        yield from choices(value.config)
    elif attrs.has(type(value)):
        for attribute in filter(changes_bits, attrs.fields(type(value))):
            yield from choices(getattr(value, attribute.name))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from choices(entry)
    elif isinstance(value, dict):
        yield from choices(list(value.values()))
