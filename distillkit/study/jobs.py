"""The runs of a study: each recipe with its settings and seed once, after those it builds on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import evolve, frozen

from distillkit.api import UsageError
from distillkit.recipe import shipped
from distillkit.recipe.layer import Setting
from distillkit.recipe.paths import is_of_python, named
from distillkit.recipe.schema import Recipe
from distillkit.recipe.write import value_text
from distillkit.registry import Catalog
from distillkit.run.nodes import Node, graph
from distillkit.study.plan import Cell, Study


@frozen
class Job:
    """One run to be made; `needs` are the fingerprints of the runs it builds on."""

    fingerprint: str
    name: str
    recipe: Path
    sets: tuple[str, ...]
    seed: int | None  # for the recipes it builds on as well; None: `sets` has the seed of this one alone
    needs: tuple[str, ...]  # in the order of the node's sources
    node: Node
    cell: tuple[str, int] | None = None  # label and seed; None: no cell, but others build on it
    collapsed: bool = False  # is a run that collapsed taken for a finished one?

    def arguments(self, runs: Path) -> list[str]:
        """Write the arguments of the command `distillkit` that make this run, or wait for who makes it already."""
        sets = [part for text in self.sets for part in ("--set", text)]
        seed = [] if self.seed is None else ["--seed", str(self.seed), "--teacher-seeds"]
        sick = ["--reuse-collapsed"] if self.collapsed else []
        return ["run", str(self.recipe), *sets, *seed, *sick, "--wait", "--runs", str(runs)]


def jobs(study: Study, catalog: Catalog, collapsed: bool = False, runs: Path | None = None) -> list[Job]:
    """List all runs, each once, those that others build on first; `collapsed`: those that did are taken as finished.

    `runs`: where they will be. Raises UsageError with the problems of all cells, or if two cells are the same recipe.
    """
    found: dict[str, Job] = {}
    problems: list[str] = []
    for cell in study.cell:
        try:
            for seed in study.seeds:
                for job in _jobs(study, cell, seed, catalog, runs):
                    found[job.fingerprint] = _merged(found.get(job.fingerprint), job)
        except UsageError as error:
            problems.append(f"cell {cell.label!r}: {error}")
    if problems:
        raise UsageError("\n\n".join(problems))
    return [evolve(job, collapsed=collapsed) for job in found.values()]


def _merged(before: Job | None, job: Job) -> Job:
    """Merge two jobs of the same run: one asked for by a cell, one by others that build on it."""
    if before is None or before.cell is None:
        return job if before is None else evolve(before, cell=job.cell, name=job.name if job.cell else before.name)
    if job.cell is not None and job.cell[0] != before.cell[0]:
        raise UsageError(f"it is the same recipe as cell {before.cell[0]!r} (seed {job.cell[1]}): leave one out")
    return before


def _jobs(study: Study, cell: Cell, seed: int, catalog: Catalog, runs: Path | None) -> list[Job]:
    """List the run of a cell with one seed, after what it builds on."""
    path = shipped.path_of(cell.recipe, study.path.parent)
    everywhere = seed if study.teacher_seeds else None
    own = [Setting.of(text, study.path) for text in (*study.set, *cell.set)]
    sets: tuple[str, ...] = (*own, *(() if study.teacher_seeds else (f"run.seed={seed}",)))
    nodes = graph(path, sets, catalog, everywhere, runs=runs)
    sets = (*map(str, sets), *_seen_from_here(nodes[-1].recipe, own))
    by_path = {node.recipe.path.resolve(): node for node in nodes}
    made = []
    for node in nodes:
        last = node is nodes[-1]
        needs = tuple(by_path[parent].fingerprint for parent in node.sources.values())
        name = f"{cell.label}, seed {seed}" if last else _named(node, everywhere)
        made.append(
            Job(
                node.fingerprint, name, node.recipe.path, sets if last else (), everywhere, needs,
                node, (cell.label, seed) if last else None,
            )
        )  # fmt: skip
    return made


def _seen_from_here(recipe: Recipe, sets: Sequence[str]) -> Iterator[str]:
    """Settings for a command given here: over those of the study, which count from its folder, and over tables."""
    keys = [text.partition("=")[0].strip() for text in sets]
    for key, (_, text) in named(recipe).items():
        dotted = ".".join(map(str, key))
        over = key in recipe.written and any(f"{dotted}.".startswith(f"{one}.") for one in keys)
        if over or is_of_python(recipe.path):
            yield f"{dotted}={value_text(text)}"


def _named(node: Node, seed: int | None) -> str:
    return node.recipe.name if seed is None else f"{node.recipe.name}, seed {seed}"
