"""`distillkit eval`: a finished run's student measured again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from distillkit.cli import arguments, panel, screen
from distillkit.cli.console import console


def add(parser: ArgumentParser) -> None:
    arguments.student(parser)
    parser.add_argument(
        "--recipe", type=arguments.recipe_path, metavar="RECIPE", help="ask the [[evaluate]] of this recipe instead"
    )
    arguments.sampler(parser)
    arguments.trust(parser)
    arguments.sets(parser, "evaluate.0.images=5000 (may be repeated)")


def main(args: Namespace) -> int:
    """Measure, show and write -> exit code."""
    from distillkit.run.measure import measure

    outcome, file = measure(args.run, args.sets, args.recipe, screen.choose(), args.trust, args.sampler)
    out = console()
    out.print(panel.outcome(outcome, out.width, measured=file), soft_wrap=True)
    return 0
