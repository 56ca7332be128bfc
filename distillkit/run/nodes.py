"""The recipes of a graph as nodes: what identifies the run of each, and the texts that its folder keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from distillkit.recipe import chain, fingerprint, to_toml, used_distributions, used_numerics
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.registry.numerics import at_first

Change = Callable[[Recipe], Recipe]


@frozen
class Node:
    """One recipe of the graph and what identifies its run."""

    recipe: Recipe
    sources: dict[str, Path]  # table -> path of the recipe whose result it needs
    fingerprint: str
    versions: dict[str, str]
    prints: dict[str, str] = field(factory=dict)  # of the recipes it starts from, by file
    numerics: dict[str, str] = field(factory=dict)
    known_as: str = ""  # where that is not the file's name
    given: Path | None = None  # the recipe file as it was given, where that is not the recipe's
    facts: dict[str, Any] = field(factory=dict)  # for its run.json
    begins: str = ""  # words on where it does not begin at 0
    at_first: str = ""  # the fingerprint of before any distribution's bits changed

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.known_as or self.recipe.name

    def at(self, kimg: float) -> str:
        """The fingerprint of a run of another length."""
        run = evolve(self.recipe.run, kimg=kimg)
        return fingerprint(evolve(self.recipe, run=run), self.prints, self.numerics)


def graph(
    path: Path, sets: Sequence[str], catalog: Catalog, seed: int | None, change: Change = lambda recipe: recipe
) -> list[Node]:
    """List the recipes to run, parents first; `change` is applied to each before it is fingerprinted."""
    nodes: dict[Path, Node] = {}
    for recipe in map(change, chain(path, sets, catalog, seed=seed)):
        sources = {table: path.resolve() for table, path in recipe.start_paths.items()}
        prints = {file: nodes[sources[table]].fingerprint for table, file in recipe.starts_from.items()}
        versions = {**used_distributions(recipe, catalog), "torch": version("torch")}
        numerics = used_numerics(recipe, catalog)
        identity = fingerprint(recipe, prints, numerics)
        old_prints = {file: nodes[sources[table]].at_first for table, file in recipe.starts_from.items()}
        old = fingerprint(recipe, old_prints, {dist: at_first(found) for dist, found in numerics.items()})
        nodes[recipe.path.resolve()] = Node(recipe, sources, identity, versions, prints, numerics, at_first=old)
    return list(nodes.values())


def texts(node: Node, nodes: list[Node]) -> tuple[Path, str, dict[str, str]]:
    """Write `node` as text: its file, its resolved text, and by file name in from/ those of all it builds on."""
    ancestors: dict[Path, Node] = {}
    by_path = {n.recipe.path.resolve(): n for n in nodes}

    def visit(current: Node) -> None:
        for parent in current.sources.values():
            visit(by_path[parent])
            ancestors[parent] = by_path[parent]

    visit(node)
    names = {path: unique(path, index, ancestors) for index, path in enumerate(ancestors)}

    def text(n: Node, folder: str) -> str:
        files = {n.recipe.starts_from[table]: folder + names[parent] for table, parent in n.sources.items()}
        return to_toml(n.recipe, made_with=n.versions, files=files)

    return (
        node.given or node.recipe.path,
        text(node, "from/"),
        {names[path]: text(n, "") for path, n in ancestors.items()},
    )


def unique(path: Path, index: int, paths: dict[Path, Node]) -> str:
    same = sum(other.name == path.name for other in paths)
    return path.name if same == 1 else f"{path.stem}-{index}.toml"
