"""One short number for all that decides a run's result, so that a finished run can be found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from distillkit import __version__
from distillkit.api import Choice
from distillkit.recipe.schema import Recipe
from distillkit.recipe.write import tables
from distillkit.registry import Catalog

# Keys of [run] that change where, how fast and how visibly a run is computed, but not its result.
WITHOUT_EFFECT_ON_RESULT = ("device", "threads", "keep_checkpoints", "checkpoint_kimg", "tick_kimg", "grid")


def fingerprint(recipe: Recipe, prints: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """16 hex digits of the resolved recipe, `versions`, and `prints`: those of the recipes it starts from, by file."""
    data = tables(recipe)
    for key in WITHOUT_EFFECT_ON_RESULT:
        data["run"].pop(key, None)
    for table, file in recipe.starts_from.items():
        data[table]["from"] = prints[file]
    text = json.dumps({"recipe": _bare(data), "versions": dict(versions)}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _bare(value: Any) -> Any:
    """The value with 2.0 as 2: a default may be an integer where a recipe's number becomes a float."""
    if isinstance(value, dict):
        return {key: _bare(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_bare(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def used_distributions(recipe: Recipe, catalog: Catalog) -> dict[str, str]:
    """Name -> version of distillkit and of each distribution whose components the recipe uses, nested ones too."""
    offers = [catalog.find(choice.kind, choice.name) for choice in choices(recipe)]
    return dict(sorted({"distillkit": __version__, **{offer.dist: offer.version for offer in offers}}.items()))


def choices(value: Any) -> Iterator[Choice[Any]]:
    """Every Choice inside a recipe or a config, outer before inner."""
    if isinstance(value, Choice):
        yield value
        yield from choices(value.slot)
        yield from choices(value.config)
    elif attrs.has(type(value)):
        for attribute in attrs.fields(type(value)):
            yield from choices(getattr(value, attribute.name))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from choices(entry)
    elif isinstance(value, dict):
        yield from choices(list(value.values()))
