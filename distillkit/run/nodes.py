"""The recipes of a graph as nodes: what identifies the run of each, and the texts that its folder keeps."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from distillkit.recipe import chain, fingerprint, to_toml, used_distributions, used_numerics
from distillkit.recipe.paths import changed, spelt
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.registry.numerics import at_first

Change = Callable[[Recipe], Recipe]


@frozen
class Spelling:
    """The same recipe with its paths in one way."""

    recipe: Recipe
    prints: dict[str, str]  # of the recipes it starts from, by file
    fingerprint: str


@frozen
class Node:
    """One recipe of the graph and what identifies its run."""

    recipe: Recipe
    sources: dict[str, Path]  # table -> path of the recipe whose result it needs
    fingerprint: str
    versions: dict[str, str]
    numerics: dict[str, str] = field(factory=dict)
    known_as: str = ""  # where that is not the file's name
    given: Path | None = None  # the recipe file as it was given, where that is not the recipe's
    facts: dict[str, Any] = field(factory=dict)  # for its run.json
    begins: str = ""  # words on where it does not begin at 0
    at_first: str = ""  # the fingerprint of before any distribution's bits changed
    spellings: tuple[Spelling, ...] = ()  # the fingerprint's, and those of earlier runs

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.known_as or self.recipe.name

    def at(self, kimg: float) -> list[str]:
        """The fingerprints that a run of another length may have."""
        run = evolve(self.recipe.run, kimg=kimg)
        return [fingerprint(evolve(one.recipe, run=run), one.prints, self.numerics) for one in self.spellings]

    @property
    def known(self) -> list[str]:
        """The fingerprints that a run of it may have."""
        return list(dict.fromkeys((self.fingerprint, *(one.fingerprint for one in self.spellings))))


def graph(
    path: Path, sets: Sequence[str], catalog: Catalog, seed: int | None, change: Change = lambda recipe: recipe,
    runs: Path | None = None,
) -> list[Node]:  # fmt: skip
    """List the recipes to run, parents first; `change` is applied to each before it is fingerprinted.

    `runs`: where their runs are, runs by default: fingerprints have paths as seen from the folder around that.
    """
    home = os.path.dirname(os.path.abspath(runs or "runs"))
    nodes: dict[Path, Node] = {}
    for recipe in map(change, chain(path, sets, catalog, seed=seed)):
        sources = {table: path.resolve() for table, path in recipe.start_paths.items()}
        versions = {**used_distributions(recipe, catalog), "torch": version("torch")}
        numerics = used_numerics(recipe, catalog)
        found: list[Spelling] = []
        for way, one in enumerate(spellings(recipe, home)):
            prints = {
                file: nodes[sources[table]].spellings[way].fingerprint for table, file in recipe.starts_from.items()
            }
            found.append(Spelling(one, prints, fingerprint(one, prints, numerics)))
        old_prints = {file: nodes[sources[table]].at_first for table, file in recipe.starts_from.items()}
        old = fingerprint(found[1].recipe, old_prints, {dist: at_first(found) for dist, found in numerics.items()})
        nodes[recipe.path.resolve()] = Node(
            recipe, sources, found[0].fingerprint, versions, numerics, at_first=old, spellings=tuple(found)
        )
    return list(nodes.values())


def spellings(recipe: Recipe, home: str) -> list[Recipe]:
    """The recipe with its paths as fingerprints have them, then as those of 0.1 may have them.

    Which are those of its files as they are, as seen from the working directory, and whole.
    """
    return [
        changed(recipe, lambda key, _, text: spelt(text, home)),
        changed(recipe, lambda key, _, text: recipe.written.get(key, text)),
        changed(recipe, lambda key, _, text: spelt(text, "", os.getcwd())),
        changed(recipe, lambda key, _, text: spelt(text, None)),
    ]


def texts(node: Node, nodes: list[Node], folder: Path) -> tuple[Path, str, dict[str, str]]:
    """Write `node` as text: its file, its resolved text, and by file name in from/ those of all it builds on.

    `folder`: the run's; what is below the one around runs is named as seen from there, so that all can be moved.
    """
    home = os.path.abspath(folder.parent.parent)
    ancestors: dict[Path, Node] = {}
    by_path = {n.recipe.path.resolve(): n for n in nodes}

    def visit(current: Node) -> None:
        for parent in current.sources.values():
            visit(by_path[parent])
            ancestors[parent] = by_path[parent]

    visit(node)
    names = {path: unique(path, index, ancestors) for index, path in enumerate(ancestors)}

    def text(n: Node, within: str, to: str) -> str:
        files = {n.recipe.starts_from[table]: to + names[parent] for table, parent in n.sources.items()}
        recipe = changed(n.recipe, lambda key, _, text: spelt(text, home, os.path.abspath(folder / within)))
        return to_toml(recipe, made_with=n.versions, files=files)

    return (
        node.given or node.recipe.path,
        text(node, "", "from/"),
        {names[path]: text(n, "from", "") for path, n in ancestors.items()},
    )


def unique(path: Path, index: int, paths: dict[Path, Node]) -> str:
    same = sum(other.name == path.name for other in paths)
    return path.name if same == 1 else f"{path.stem}-{index}.toml"
