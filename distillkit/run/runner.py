"""`distillkit run`: the recipes a recipe builds on, each run once or reused, in order."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs

from distillkit.api import DistillkitError, Diverged, InputError, UsageError
from distillkit.assets.folder import folder as assets
from distillkit.assets.locate import pin, require
from distillkit.disk import manifest, rundir
from distillkit.disk.results import Outcome
from distillkit.disk.rundir import RunDir
from distillkit.recipe import choice_from_table, shipped
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import extension, inputs, lookup, trust
from distillkit.run.claim import claimed
from distillkit.run.enduring import EnduringScreen
from distillkit.run.lookup import Found
from distillkit.run.nodes import Change, Node, graph, texts
from distillkit.show import formats, report
from distillkit.show.screen import Screen
from distillkit.train.ranks import shares
from distillkit.train.ranks.alone import Ranks

TRYING = "importing torch, trying the recipe without numbers"


def run(
    path: Path | None,
    *,
    sets: Sequence[str] = (),
    seed: int | None = None,
    resume: Path | None = None,
    extend: Path | None = None,
    runs: Path | None = None,
    again: bool = False,
    wait: bool = False,
    take_over: bool = False,
    collapsed: bool = False,
    screen: Screen,
    change: Change | None = None,
    told: bool = False,
    trusted: Sequence[str] = (),
    ranks: Ranks | None = None,
    logs: Sequence[str] = (),
) -> list[Outcome]:
    """Run a recipe and the recipes it builds on -> their outcomes, the asked one last.

    A finished run of the same fingerprint is reused (the asked recipe's too, unless `again`), one that was
    interrupted goes on. `resume` names a run folder instead of a recipe; its parents are looked for in `runs`. So
    does `extend`, a run that goes on to another end in a folder of its own.
    A parent that is in training elsewhere is waited for; the asked one only with `wait`, else InUse is raised.
    `take_over`: an owner on another host is not watched for signs of life. `collapsed`: take a run that collapsed for a
    finished one; else it is run again, and as a parent it raises Diverged. `told`: the plan was shown. With a `change`
    (see `graph`) the recipes are no more those of their files, and nothing is tried before. `ranks`: this process, the
    first of several, the others of which listen; None: it is alone. `logs`: names of loggers beside the recipes' own.
    """
    catalog, screen = Catalog.installed(), EnduringScreen(screen)
    target = RunDir.open(folder) if (folder := resume or extend) else None
    if target is not None:
        path = target.resolved
    if path is None:
        raise UsageError("name a recipe, or a run to resume")
    runs = runs or (target.path.parent if target else Path("runs"))
    nodes = graph(path, sets, catalog, seed, change or (lambda recipe: recipe), runs)
    if target is not None:
        nodes[-1] = (extension.resumed if resume else extension.longer)(target, nodes[-1])
    known = rundir.known(runs, collapsed)
    nodes = [attrs.evolve(node, recipe=logged(node.recipe, logs, catalog)) for node in nodes]
    found = lookup.plan(nodes, known)
    *parents, asked = nodes
    refuse_sick(zip(parents, (old.collapsed for old in found), strict=False))
    if target is not None:
        refuse_unasked(target, parents, found, runs)
        if extend or not target.ended:
            refuse_changed(target, nodes, found)
    if resume or again:
        found[-1] = Found(target)
    remarks = set(lookup.remarks(nodes, found))
    if ranks is not None:
        share(lookup.unfinished(nodes, found), ranks.size)
    if not told:
        _tell(lookup.rows(nodes, found), remarks, screen)
        for line in lookup.shorter(asked, known) if target is None and found[-1].run is None else ():
            screen.line(line)
    require(shipped.told(path), lookup.unfinished(nodes, found), assets())
    pin(lookup.unfinished(nodes, found), assets())
    trust.admit(target.path if target else None, lookup.unfinished(nodes, found), trusted, remember=change is None)
    if change is None and lookup.unfinished(nodes, found):
        with screen.progress(TRYING, None, ""), warnings.catch_warnings():
            from distillkit.run.refuse import refuse  # torch comes with it

            warnings.simplefilter("ignore", UserWarning)  # of files: each run that opens them says it, in its log too
            refuse(nodes, [one.run for one in found], sets, catalog)
    outcomes: dict[Path, Outcome] = {}
    for node in nodes:
        last = node is asked
        results = {table: outcomes[parent] for table, parent in node.sources.items()}
        find: Callable[[], RunDir | None] = partial(existing, node, runs, results, remarks, screen, collapsed)
        if last and (resume or again):
            find = lambda: target  # noqa: E731  with `again` a new run whatever there is
        outcomes[node.recipe.path.resolve()] = one(
            node, find, results, nodes, runs, catalog, screen, wait or not last, take_over, ranks or Ranks()
        )
        made = RunDir.open(outcomes[node.recipe.path.resolve()].run_dir)
        refuse_sick([(node, None if last or collapsed or made.status() != "collapsed" else made)])
    return list(outcomes.values())


def logged(recipe: Recipe, names: Sequence[str], catalog: Catalog) -> Recipe:
    """The recipe with further loggers, by their names. Raises RecipeProblems for unknown ones."""
    known = {choice.name for choice in recipe.logger}
    for name in names:
        catalog.find("logger", name)  # which hints at the distribution to install
    more = [choice_from_table("logger", {"use": name}, catalog, where="--log") for name in names if name not in known]
    return attrs.evolve(recipe, logger=(*recipe.logger, *more))


def share(recipes: Iterable[Recipe], size: int) -> None:
    """Warn of processes that wait. Raises UsageError for a batch that has not work for all."""
    for recipe in recipes:
        if told := shares.check(recipe.run.batch, recipe.run.micro_batch, size, recipe.group):
            warnings.warn(f"{recipe.name}: {told}", stacklevel=2)


def refuse_sick(parents: Iterable[tuple[Node, RunDir | None]]) -> None:
    """Raises Diverged for a parent's run that collapsed: nothing is trained on it unasked, and it would again."""
    for node, run in parents:
        if run is not None:
            raise Diverged(
                f"{run.path} collapsed ({run.signs()}), and nothing is trained on it: change {node.name}, or take it "
                "as it is with --reuse-collapsed"
            )


def tell_plan(
    path: Path, seeds: Mapping[int, tuple[Sequence[str], int | None]], runs: Path | None, again: bool, collapsed: bool,
    screen: Screen,
) -> None:  # fmt: skip
    """Show what is done for several seeds, each run once; `seeds`: settings and the seed of all recipes of each."""
    catalog, known = Catalog.installed(), rundir.known(runs or Path("runs"), collapsed)
    table: dict[str, dict[str, str]] = {}
    remarks: list[str] = []
    for seed, (sets, everywhere) in seeds.items():
        nodes = graph(path, sets, catalog, everywhere, runs=runs)
        found = lookup.plan(nodes, known)
        if again:
            found[-1] = Found(None)
        remarks += lookup.remarks(nodes, found)
        for node, row in zip(nodes, lookup.rows(nodes, found), strict=True):
            if node is nodes[-1] or everywhere is not None:
                row["recipe"] += f", seed {seed}"
            table.setdefault(node.fingerprint, row)
    _tell(list(table.values()), dict.fromkeys(remarks), EnduringScreen(screen))


def _tell(rows: Sequence[Mapping[str, str]], remarks: Iterable[str], screen: Screen) -> None:
    screen.plan(rows)
    for text in remarks:
        screen.warn(text)


def refuse_unasked(target: RunDir, parents: list[Node], found: Sequence[Found], runs: Path) -> None:
    """A run that goes on needs the results it started from: training them anew was not asked for."""
    for node, old in zip(parents, found, strict=False):
        if not old.finished:
            changed = "; ".join(f"{path}: {', '.join(why)}" for path, why in old.outdated.items())
            raise UsageError(
                f"no finished run of {node.recipe.name} in {runs}, on which {target.path} builds"
                + (f" ({changed})" if changed else ": name the folder that has it with --runs")
            )


def refuse_changed(target: RunDir, nodes: Sequence[Node], found: Sequence[Found]) -> None:
    """A run does not go on with other data than it began with."""
    *_, asked = nodes
    runs = {node.recipe.path.resolve(): one.run for node, one in zip(nodes, found, strict=True)}
    parents = {table: run.path for table, path in asked.sources.items() if (run := runs[path])}
    changed = inputs.changes(target, asked.recipe, parents)
    if changed:
        raise InputError(
            f"{target.path} does not go on, since {'; '.join(changed)}: bring back what it began with, or run the "
            "recipe without --resume, which begins anew in a folder of its own"
        )


def existing(
    node: Node, runs: Path, results: Mapping[str, Outcome], told: set[str], screen: Screen, collapsed: bool
) -> RunDir | None:
    """Find the run of `node` to reuse or to go on with, now that its parents' results are there."""
    parents = {table: outcome.run_dir for table, outcome in results.items()}
    found = lookup.look(node, rundir.known(runs, collapsed), parents)
    for text in lookup.left_out(found):
        if text not in told:
            screen.warn(text)
    return found.run


def one(
    node: Node, find: Callable[[], RunDir | None], results: dict[str, Outcome], nodes: list[Node], runs: Path,
    catalog: Catalog, screen: Screen, wait: bool, take_over: bool, ranks: Ranks,
) -> Outcome:  # fmt: skip
    """Run one recipe, or reuse or go on with the run that `find` gives; `results` are those of its parents, by table.

    `find` is asked now, not when the plan was made: another process may have begun or finished the same since.
    """
    from distillkit.run import stage  # torch comes with it: only when there is work

    recipe, parents = node.recipe, {table: outcome.run_dir for table, outcome in results.items()}

    def make() -> RunDir:
        read = inputs.noted(recipe, parents)
        return RunDir.create(runs, node.name, node.fingerprint, node.versions, **node.facts, **{inputs.NOTE: read})

    with claimed(find, make, runs, screen, wait, take_over) as claim:
        run = claim.run
        if not claim.new and run.ended:
            manifest.check_result(run.result)
            paged(run, screen)
            return Outcome.of(run, reused=True)
        if not run.resolved.exists():  # new, or killed right after it was made
            stage.write_recipes(run, *texts(node, nodes, run.path))
        if not inputs.known(run):
            run.note(inputs.NOTE, inputs.noted(recipe, parents))
        screen.stage(f"{run.info['recipe']}   {recipe.generator_loss.name}, {recipe.run.kimg:g} kimg   {run.path}")
        start = time.perf_counter()
        stage.execute(recipe, run, results, catalog, screen, ranks)
        how = "" if run.status() == "finished" else f"{run.status()}, "
        outcome, took = Outcome.of(run, reused=False), formats.duration(time.perf_counter() - start)
        alone = formats.duration(outcome.scores.seconds)
        screen.line(f"{how}done in {took} with metrics and pictures; elapsed is training alone, {alone}")
        return outcome


def paged(run: RunDir, screen: Screen) -> None:
    """Make the page of a finished run that has none from after its end: it failed, or a signal came before it."""
    if run.report.exists() and run.report.stat().st_mtime_ns >= run.exit.stat().st_mtime_ns:
        return
    try:
        report.write_report(run.path, title=str(run.info["recipe"]))
    except (DistillkitError, OSError) as error:
        screen.warn(f"{run.path} has no report: {error}")
