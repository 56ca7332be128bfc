"""A recipe's live objects on the meta device: everything is built at its own size, and nothing has content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from distillkit.api import Denoiser
from distillkit.dry import parts
from distillkit.dry.meta import DEVICE
from distillkit.dry.parts import Blank, Card
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.train.build import assemble
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State


def build(recipe: Recipe, images: Blank, cards: Mapping[str, Card], catalog: Catalog) -> State:
    """Build all but the metrics, with auxiliary losses that act from start to end.

    `cards` are those of results that are not there yet, by the path that the recipe has for them. Raises UsageError
    where a run would, and InputError for a file that is neither here nor known.
    """
    slots = [attrs.evolve(term.slot, start_kimg=0.0, stop_kimg=None) for term in recipe.auxiliary_loss]
    terms = [attrs.evolve(term, slot=slot) for term, slot in zip(recipe.auxiliary_loss, slots, strict=True)]
    recipe = attrs.evolve(recipe, auxiliary_loss=tuple(terms), evaluate=())

    def load(path: str | Path) -> Denoiser:
        name = str(path)
        return parts.network(cards[name] if name in cards else parts.card_of(name, catalog), catalog)

    with DEVICE:  # for what components make without naming a device
        return assemble(recipe, catalog, DEVICE, images, load, Ranks())
