"""run, check, plan, compare, evaluate, study: the commands as functions. Errors are exceptions with the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillkit.python.asked import Asked, file_of, run_path, settings
from distillkit.python.result import Result
from distillkit.python.screens import chosen
from distillkit.python.studied import study
from distillkit.recipe.write import tables
from distillkit.registry import Catalog
from distillkit.show.screen import Screen

if TYPE_CHECKING:
    from distillkit.compare import Comparison
    from distillkit.python.planned import Plan

__all__ = ["check", "compare", "evaluate", "plan", "run", "study"]
NOTHING: Mapping[str, Any] = {}


def run(
    recipe: Asked, set: Mapping[str, Any] = NOTHING, *, seed: int | None = None, name: str = "recipe",
    runs: str | Path = "runs", again: bool = False, log: Sequence[str] = (), quiet: bool = False,
    screen: Screen | None = None,
) -> Result:  # fmt: skip
    """Run a recipe, and first those that it builds on; what is finished is reused, what was interrupted goes on.

    `set`: keys over the recipe, {"run.kimg": 8}. `seed`: of all recipes of the chain. `name`: what a recipe of tables
    is called. `again`: run the asked one even if it is finished. `log`: loggers by name. `quiet`: print nothing.
    Raises RecipeProblems, UsageError, InputError, Diverged, ResourceError, Preempted as the command would end.
    """
    from distillkit.run import runner

    with file_of(recipe, name) as path:
        outcomes = runner.run(
            path, sets=settings(set), seed=seed, runs=Path(runs), again=again, logs=log,
            screen=screen or chosen(quiet),
        )  # fmt: skip
    return Result(outcomes[-1].run_dir)


def check(recipe: Asked, set: Mapping[str, Any] = NOTHING, *, name: str = "recipe") -> dict[str, Any]:
    """The resolved recipe as plain tables, every default filled in.

    Raises RecipeProblems with all that is wrong, and what a run would be refused for.
    """
    from distillkit.run.nodes import graph
    from distillkit.run.refuse import refuse

    catalog = Catalog.installed()
    with file_of(recipe, name) as path:
        nodes = graph(path, settings(set), catalog, None)
        refuse(nodes, [None] * len(nodes), settings(set), catalog)
    return tables(nodes[-1].recipe)


def plan(recipe: Asked, set: Mapping[str, Any] = NOTHING, *, name: str = "recipe", runs: str | Path = "runs") -> Plan:
    """What each recipe of the chain takes, as stages with `flops`, `peak(micro_batch)` in bytes and `finished`.

    Its `rows` are a table, `verdict(memory=8)` says whether it fits into so many GB. Raises RecipeProblems.
    """
    from distillkit.plan.stages import stages
    from distillkit.python.planned import Plan

    with file_of(recipe, name) as path:
        return Plan(stages(path, settings(set), Path(runs), Catalog.installed()))


def compare(
    *runs: Result | str | int | Path, baseline: str | None = None, metrics: Sequence[str] = ()
) -> Comparison:  # fmt: skip
    """Runs side by side; `distillkit.compare.write_page` makes its page. Raises UsageError for what cannot be."""
    from distillkit.compare import Run
    from distillkit.compare import compare as compared

    return compared([Run.read(run_path(one)) for one in runs], baseline=baseline, metrics=list(metrics))


def evaluate(
    run: Result | str | int | Path, set: Mapping[str, Any] = NOTHING, *, recipe: str | Path | None = None,
    sampler: str | Mapping[str, Any] | None = None, quiet: bool = False,
) -> dict[str, float]:  # fmt: skip
    """The metrics of a finished run's student, measured again; `recipe`: one whose [[evaluate]] are asked instead.

    `sampler`: by which it draws, as in `load`; then it may be any network, which `recipe` says how to measure.
    """
    from distillkit.recipe import shipped
    from distillkit.run.measure import measure

    path = run_path(run)
    other = None if recipe is None else shipped.asked(str(recipe))
    outcome, _ = measure(path, settings(set), other, chosen(quiet), (), sampler)
    return dict(outcome.scores.student)
