"""`distillkit study --claim`: runs what was declared, and prints the verdicts."""

from __future__ import annotations

import sys
from argparse import Namespace

from rich.padding import Padding
from rich.text import Text

from distillkit.api import DistillkitError, UsageError
from distillkit.cli.console import console
from distillkit.study import tell
from distillkit.study.claimed import Claimed, claimed
from distillkit.study.judge import Judged
from distillkit.study.plan import Study
from distillkit.study.queue import Queue
from distillkit.study.results import write_text
from distillkit.study.whole import Screen, problems

STYLES = {"holds": "green", "refuted": "red", "open": "yellow", "waiting": "dim"}


def main(study: Study, args: Namespace, screen: Screen, queue: Queue | None) -> int:
    """Run what is missing, judge -> exit code; 1 where a run failed."""
    if args.reuse_collapsed:
        raise UsageError("--claim counts a run that collapsed against its arm: without --reuse-collapsed")
    found = claimed(study, args.runs, args.out, screen, at_once=args.jobs, queue=queue, start=not args.no_run)
    tell_verdicts(found)
    page = args.markdown or study.path.with_suffix(".md")
    write_text(page, tell.markdown(found))
    if found.record.path.exists():  # not with --no-run before the first run
        print(f"rows  {found.record.path}")
    print(f"page  {page}")
    return ended(found)


def tell_verdicts(found: Claimed) -> None:
    """Print each claim with its verdict, and what all rests on."""
    out = console()
    for one in found.judged:
        out.print(shown(one))
    out.print(Padding(Text(tell.summary(found), "dim"), (1, 0, 0, 0)))


def ended(found: Claimed) -> int:
    """Tell what failed -> exit code."""
    _, bad = problems(found.failed)
    for line in bad:
        print(f"error: {line}", file=sys.stderr)
    return DistillkitError.exit_code if bad else 0


def shown(one: Judged) -> Padding:
    """The hypothesis and its verdict, below it the arms and what was measured."""
    head = Text.assemble((f"{one.verdict:8} ", STYLES[one.verdict]), one.claim.says)
    return Padding(
        Text("\n").join([head, *(Text(f"  {line}") for line in (tell.name(one), tell.sentence(one)))]), (1, 0, 0, 0)
    )
