"""`distillkit report`: write a run's page again from what lies in its directory."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from distillkit.api.errors import UsageError
from distillkit.cli import arguments
from distillkit.disk.remembered import there
from distillkit.show.report import write_report


def add(parser: ArgumentParser) -> None:
    arguments.run(parser)


def main(args: Namespace) -> int:
    """Write the page and print where it is -> exit code."""
    run = args.run
    if not run.is_dir():
        raise UsageError(f"{run}: no such run directory; {there()}")
    if not (run / "metrics.jsonl").exists():
        raise UsageError(f"{run}: not a run directory: it has no metrics.jsonl; {there()}")
    print(write_report(run))
    return 0
