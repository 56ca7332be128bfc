"""`distillkit eval`: a finished run's student measured again."""

from __future__ import annotations

from argparse import Namespace

from distillkit.cli import panel, screen
from distillkit.cli.console import console


def main(arguments: Namespace) -> int:
    """Measure, show and write -> exit code."""
    from distillkit.run.measure import measure

    outcome, file = measure(arguments.run, arguments.sets, arguments.recipe, screen.choose())
    console().print(panel.outcome(outcome))
    print(file)
    return 0
