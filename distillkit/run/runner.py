"""`distillkit run`: the recipes a recipe builds on, each run once or reused, in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from attrs import frozen

from distillkit.api import DistillkitError, UsageError
from distillkit.assets.folder import folder as assets
from distillkit.assets.locate import require
from distillkit.disk import rundir
from distillkit.disk.results import Outcome
from distillkit.disk.rundir import RunDir
from distillkit.recipe import chain, fingerprint, shipped, to_toml, used_distributions, used_numerics
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run.claim import claimed
from distillkit.run.enduring import EnduringScreen
from distillkit.show import report
from distillkit.show.screen import Screen

Change = Callable[[Recipe], Recipe]


@frozen
class Node:
    """One recipe of the graph and what identifies its run."""

    recipe: Recipe
    sources: dict[str, Path]  # table -> path of the recipe whose result it needs
    fingerprint: str
    versions: dict[str, str]


def graph(
    path: Path, sets: Sequence[str], catalog: Catalog, seed: int | None, change: Change = lambda recipe: recipe
) -> list[Node]:
    """List the recipes to run, parents first; `change` is applied to each before it is fingerprinted."""
    nodes: dict[Path, Node] = {}
    for recipe in map(change, chain(path, sets, catalog, seed=seed)):
        sources = {table: path.resolve() for table, path in recipe.start_paths.items()}
        prints = {file: nodes[sources[table]].fingerprint for table, file in recipe.starts_from.items()}
        versions = {**used_distributions(recipe, catalog), "torch": version("torch")}
        identity = fingerprint(recipe, prints, used_numerics(recipe, catalog))
        nodes[recipe.path.resolve()] = Node(recipe, sources, identity, versions)
    return list(nodes.values())


def run(
    path: Path | None,
    *,
    sets: Sequence[str] = (),
    seed: int | None = None,
    resume: Path | None = None,
    runs: Path | None = None,
    again: bool = False,
    wait: bool = False,
    take_over: bool = False,
    screen: Screen,
    change: Change = lambda recipe: recipe,
) -> list[Outcome]:
    """Run a recipe and the recipes it builds on -> their outcomes, the asked one last.

    A finished run of the same fingerprint is reused (the asked recipe's too, unless `again`), one that was
    interrupted goes on. `resume` names a run folder instead of a recipe; its parents are looked for in `runs`.
    A parent that is in training elsewhere is waited for; the asked one only with `wait`, else InUse is raised.
    `take_over`: an owner on another host is not watched for signs of life.
    """
    catalog, screen = Catalog.installed(), EnduringScreen(screen)
    target = None
    if resume is not None:
        target = RunDir.open(resume)
        path = target.resolved
    if path is None:
        raise UsageError("name a recipe, or a run to resume")
    runs = runs or (target.path.parent if target else Path("runs"))
    nodes = graph(path, sets, catalog, seed, change)
    if target is not None and nodes[-1].fingerprint != target.fingerprint:
        raise UsageError(
            f"{target.path} was made with other plugins or an edited recipe (fingerprint {target.fingerprint}, "
            f"now {nodes[-1].fingerprint}); install the versions named in its run.json, or run the recipe anew"
        )
    *parents, asked = nodes
    found = [existing(node, runs) for node in parents]
    found.append(target if target is not None or again else existing(asked, runs))
    if target is not None:
        refuse_unasked(target, parents, found, runs)
    screen.plan(rows(nodes, found, target))
    require(shipped.told(path), unfinished(nodes, found), assets())
    outcomes: dict[Path, Outcome] = {}
    for node in nodes:
        last = node is asked
        find: Callable[[], RunDir | None] = partial(existing, node, runs)
        if last and (target is not None or again):
            find = lambda: target  # noqa: E731  with `again` a new run whatever there is
        results = {table: outcomes[parent] for table, parent in node.sources.items()}
        outcomes[node.recipe.path.resolve()] = one(
            node, find, results, nodes, runs, catalog, screen, wait or not last, take_over
        )
    return list(outcomes.values())


def refuse_unasked(target: RunDir, parents: list[Node], found: Sequence[RunDir | None], runs: Path) -> None:
    """A run that goes on needs the results it started from: training them anew was not asked for."""
    for node, old in zip(parents, found, strict=False):
        if old is None or old.status() != "finished":
            raise UsageError(
                f"no finished run of {node.recipe.name} in {runs}, on which {target.path} builds: name the folder "
                "that has it with --runs"
            )


def existing(node: Node, runs: Path) -> RunDir | None:
    """Find the run of `node` to reuse or to go on with; None: there is none, or it diverged and would again."""
    found = rundir.find(runs, node.fingerprint)
    return None if found is not None and found.status() == "diverged" else found


def rows(nodes: list[Node], found: list[RunDir | None], target: RunDir | None = None) -> list[dict[str, str]]:
    """Make the plan a table: what is done with each recipe; `target` knows its own name."""
    table = []
    for node, old in zip(nodes, found, strict=True):
        todo = f"{node.recipe.run.kimg:g} kimg"
        if old is not None:
            todo = f"reuse {old.path}" if old.status() == "finished" else f"go on with {old.path}"
        name = node.recipe.name if target is None or old is not target else str(target.info["recipe"])
        table.append({"recipe": name, "method": node.recipe.generator_loss.name, "to do": todo})
    return table


def unfinished(nodes: list[Node], found: list[RunDir | None]) -> list[Recipe]:
    """List the recipes of `nodes` that have to run."""
    pairs = zip(nodes, found, strict=True)
    return [node.recipe for node, old in pairs if old is None or old.status() != "finished"]


def one(
    node: Node, find: Callable[[], RunDir | None], results: dict[str, Outcome], nodes: list[Node], runs: Path,
    catalog: Catalog, screen: Screen, wait: bool, take_over: bool,
) -> Outcome:  # fmt: skip
    """Run one recipe, or reuse or go on with the run that `find` gives; `results` are those of its parents, by table.

    `find` is asked now, not when the plan was made: another process may have begun or finished the same since.
    """
    from distillkit.run import stage  # torch comes with it: only when there is work

    recipe = node.recipe

    def make() -> RunDir:
        return RunDir.create(runs, recipe.name, node.fingerprint, node.versions)

    with claimed(find, make, runs, screen, wait, take_over) as claim:
        run = claim.run
        if not claim.new and run.status() == "finished":
            paged(run, screen)
            return Outcome.of(run, reused=True)
        if not run.resolved.exists():  # new, or killed right after it was made
            stage.write_recipes(run, *texts(node, nodes))
        screen.stage(f"{run.info['recipe']}   {recipe.generator_loss.name}, {recipe.run.kimg:g} kimg   {run.path}")
        start = time.perf_counter()
        stage.execute(recipe, run, results, catalog, screen)
        screen.line(f"done in {time.perf_counter() - start:.0f} s")
        return Outcome.of(run, reused=False)


def paged(run: RunDir, screen: Screen) -> None:
    """Make the page of a finished run that has none: it failed, or a signal came before it."""
    if run.report.exists():
        return
    try:
        report.write_report(run.path, title=str(run.info["recipe"]))
    except (DistillkitError, OSError) as error:
        screen.warn(f"{run.path} has no report: {error}")


def texts(node: Node, nodes: list[Node]) -> tuple[Recipe, str, dict[str, str]]:
    """Write `node` as text: its recipe, its resolved text, and by file name in from/ those of all it builds on."""
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

    return node.recipe, text(node, "from/"), {names[path]: text(n, "") for path, n in ancestors.items()}


def unique(path: Path, index: int, paths: dict[Path, Node]) -> str:
    same = sum(other.name == path.name for other in paths)
    return path.name if same == 1 else f"{path.stem}-{index}.toml"
