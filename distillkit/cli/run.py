"""`distillkit run`: run a recipe for one seed or several, then show what came out."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory

from distillkit.api.errors import UsageError
from distillkit.cli import panel, screen
from distillkit.cli.console import console


def main(arguments: Namespace) -> int:
    """Run everything that was asked for -> exit code."""
    if (arguments.recipe is None) == (arguments.resume is None):
        raise UsageError("give a RECIPE to run, or --resume RUN to go on with a run")
    if arguments.resume and (arguments.seeds or arguments.seed is not None or arguments.sets or arguments.again):
        raise UsageError("--resume goes on with a run as it is: no --set, --seed, --seeds, --again")
    if arguments.smoke:
        return _smoke(arguments)
    from distillkit.run import runner  # torch comes with it: only when there is work

    out, live = console(), screen.choose()
    students = []
    for seed in arguments.seeds or [arguments.seed]:
        outcomes = runner.run(
            arguments.recipe, sets=arguments.sets, seed=seed, resume=arguments.resume,
            runs=arguments.runs, again=arguments.again,
            wait=arguments.wait, take_over=arguments.take_over, screen=live,
        )  # fmt: skip
        students.append(outcomes[-1])
        out.print(panel.outcome(students[-1]))
    if len(students) > 1:
        out.print(panel.spread(students, arguments.seeds))
    return 0


def _smoke(arguments: Namespace) -> int:
    """Try the wiring: every recipe of the graph, tiny and short, in a folder that goes again -> exit code."""
    if arguments.resume or arguments.seeds:
        raise UsageError("--smoke runs a RECIPE once: no --resume, no --seeds")
    from distillkit.assets.folder import elsewhere
    from distillkit.registry import Catalog
    from distillkit.run import runner, smoke

    catalog = Catalog.installed()
    with TemporaryDirectory(prefix="distillkit-smoke-") as folder, elsewhere(folder):
        outcomes = runner.run(
            arguments.recipe, sets=arguments.sets, seed=arguments.seed, runs=Path(folder) / "runs",
            screen=screen.choose(), change=lambda recipe: smoke.small(recipe, Path(folder), catalog),
        )  # fmt: skip
    names = ", ".join(outcome.recipe_name for outcome in outcomes)
    console().print(f"smoke run done: {names}; its numbers mean nothing, nothing was kept", soft_wrap=True)
    return 0
