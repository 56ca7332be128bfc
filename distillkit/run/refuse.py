"""What a chain of recipes would be refused for, some time: asked before the first of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distillkit.api import InputError, UsageError
from distillkit.assets.folder import folder
from distillkit.assets.locate import wanted
from distillkit.disk.rundir import RunDir
from distillkit.dry.parts import Card
from distillkit.dry.refused import located
from distillkit.dry.tried import tried
from distillkit.networks import network_file
from distillkit.recipe import with_checkpoint
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run.nodes import Node


def refuse(nodes: Sequence[Node], found: Sequence[RunDir | None], sets: Sequence[str], catalog: Catalog) -> list[str]:
    """Try every recipe that has to run -> a line for each part that could not be tried.

    Raises RecipeProblems with the key and line of what a component refuses, and InputError for files that are not what
    they have to be. Published files that are missing are no matter of this: `assets.require` tells them.
    """
    cards: dict[str, Card] = {}
    untried: list[str] = []
    for node, run in zip(nodes, found, strict=True):
        key = str(node.recipe.path.resolve())
        if run is not None and run.ended:
            cards[key] = network_file.read_card(run.path / "result")
            continue
        for choice in node.recipe.logger:
            choice.build()  # which needs a package, maybe
        if any(str(path) not in cards for path in node.sources.values()):
            continue  # its parent could not be tried: files are missing
        try:
            card, lines = tried(chained(node.recipe, node.sources), cards, catalog)
        except UsageError as error:
            raise located(error, node.recipe, sets if node is nodes[-1] else ()) from error
        except InputError:
            if all((folder() / asset.name).is_file() for asset in wanted(node.recipe)):
                raise
            card, lines = None, []
        untried += [f"{node.recipe.name}: {line}" for line in lines]
        if card is not None:
            cards[key] = card
    return untried


def chained(recipe: Recipe, sources: dict[str, Path]) -> Recipe:
    """Put the path of a parent's recipe where `from` will put its result."""
    for table, path in sources.items():
        recipe = with_checkpoint(recipe, table, path)
    return recipe
