"""`distillkit run`: run a recipe for one seed or several, then show what came out."""

from __future__ import annotations

from argparse import Namespace

from distillkit.api.errors import UsageError
from distillkit.cli import panel, screen
from distillkit.cli.console import console


def main(arguments: Namespace) -> int:
    """Run everything that was asked for -> exit code."""
    if (arguments.recipe is None) == (arguments.resume is None):
        raise UsageError("give a RECIPE to run, or --resume RUN to go on with a run")
    if arguments.resume and (arguments.seeds or arguments.seed is not None or arguments.sets or arguments.again):
        raise UsageError("--resume goes on with a run as it is: no --set, --seed, --seeds, --again")
    from distillkit.engine import runner  # torch comes with it: only when there is work

    out, live = console(), screen.choose()
    students = []
    for seed in arguments.seeds or [arguments.seed]:
        outcomes = runner.run(
            arguments.recipe, sets=arguments.sets, seed=seed, resume=arguments.resume,
            runs=arguments.runs, again=arguments.again, screen=live,
        )  # fmt: skip
        students.append(outcomes[-1])
        out.print(panel.outcome(students[-1]))
    if len(students) > 1:
        out.print(panel.spread(students, arguments.seeds))
    return 0
