"""Which runs there are for the recipes of a graph: to reuse, to go on with, or left out, for their data changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from distillkit.api import InputError
from distillkit.disk import typed
from distillkit.disk.rundir import Known, RunDir
from distillkit.recipe.schema import Recipe
from distillkit.run import extension, inputs
from distillkit.run.nodes import Node

OTHER_BITS = "an earlier release made it, and the same recipe has other bits now (numerics in CHANGELOG.md)"


@frozen
class Found:
    """What there is for one recipe."""

    run: RunDir | None  # to reuse or to go on with
    collapsed: RunDir | None = None  # which would be reused if it had not
    outdated: Mapping[Path, list[str]] = field(factory=dict)  # runs of the same recipe that cannot be used, and why

    @property
    def finished(self) -> bool:
        return self.run is not None and self.run.ended


def look(node: Node, known: Known, parents: Mapping[str, Path]) -> Found:
    """Find the run of `node` whose `parents`, run folders by table, and files are as it noted them.

    None where there is no such run, or it diverged and would again; one that collapsed is told and not used.
    """
    outdated: dict[Path, list[str]] = {}
    for run, status in runs_of(node, known):
        changed = inputs.changes(run, node.recipe, parents)
        if not changed:
            useless = status in ("diverged", "collapsed")
            return Found(None if useless else run, run if status == "collapsed" else None, outdated)
        outdated[run.path] = changed
    if not outdated and node.at_first != node.fingerprint:
        outdated |= {run.path: [OTHER_BITS] for run, _ in known.get(node.at_first, ())}
    return Found(None, None, outdated)


def runs_of(node: Node, known: Known) -> list[tuple[RunDir, str]]:
    """The runs that have one of its fingerprints, with their states; finished ones first."""
    return sorted((pair for each in node.known for pair in known.get(each, ())), key=lambda pair: pair[1] != "finished")


def plan(nodes: Sequence[Node], known: Known) -> list[Found]:
    """Find the runs of all nodes, parents first; what builds on a run that is made anew is made anew."""
    found: dict[Path, Found] = {}
    for node in nodes:
        parents = {table: found[path] for table, path in node.sources.items()}
        anew = [f"{table} is trained anew" for table, one in parents.items() if one.run is None and one.outdated]
        runs = runs_of(node, known)
        found[node.recipe.path.resolve()] = (
            Found(None, None, {run.path: anew for run, _ in runs}) if anew and runs
            else look(node, known, {table: one.run.path for table, one in parents.items() if one.run})
        )  # fmt: skip
    return list(found.values())


def rows(nodes: Sequence[Node], found: Sequence[Found]) -> list[dict[str, str]]:
    """Make the plan a table: what is done with each recipe."""
    table = []
    for node, one in zip(nodes, found, strict=True):
        todo = f"{node.recipe.run.kimg:g} kimg{node.begins}" + (", anew" if one.outdated else "")
        if one.run is not None:
            todo = f"reuse {one.run.path}" if one.finished else f"go on with {one.run.path}"
            todo += " (collapsed)" * (one.run.status() == "collapsed")
        table.append({"recipe": node.name, "method": node.recipe.generator_loss.name, "to do": todo})
    return table


def remarks(nodes: Sequence[Node], found: Sequence[Found]) -> Iterator[str]:
    """Say which runs are not reused and why, and of which it is not known what they read."""
    for one in found:
        yield from left_out(one)
    pairs = [(node.recipe, one.run) for node, one in zip(nodes, found, strict=True) if one.run]
    old = [str(run.path) for recipe, run in pairs if inputs.unknown(run, recipe)]
    if old:
        yield f"runs of distillkit 0.1.0 do not tell what data they read, nor whether it changed: {', '.join(old)}"


def left_out(found: Found) -> Iterator[str]:
    """Say why the newest run of the recipe is not reused, where another one has to be made."""
    if found.collapsed is not None:
        signs = found.collapsed.signs()
        yield f"{found.collapsed.path} is not reused: it collapsed ({signs}); --reuse-collapsed takes it as it is"
    if found.run is None and found.outdated:
        path, changed = next(iter(found.outdated.items()))
        yield f"{path} is not reused: {'; '.join(changed)}"


def shorter(node: Node, known: Known) -> list[str]:
    """Name a run of the same recipe that ended earlier, and how to go on from it; []: there is none."""
    for run, status in itertools.chain.from_iterable(known.values()):
        if run.info.get("recipe") != node.name or status == "diverged":
            continue
        try:
            kimg = float(typed.number(typed.toml(run.resolved)["run"]["kimg"]))
        except (InputError, KeyError, TypeError, ValueError):
            continue  # a damaged file, which is told where the run is used
        longer = node.recipe.run.kimg
        if 0 < kimg < longer and extension.plain(run) in node.at(kimg):
            command = f"distillkit run {run.path} --extend --set run.kimg={longer:g}"
            return [f"{run.path} has {kimg:g} kimg of the same; this goes on from there:", f"  {command}"]
    return []


def unfinished(nodes: Sequence[Node], found: Sequence[Found]) -> list[Recipe]:
    """List the recipes of `nodes` that have to run."""
    return [node.recipe for node, one in zip(nodes, found, strict=True) if not one.finished]
