"""`distillkit study`: many runs from one file, shown while they work and compared at the end."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.live import Live
from rich.table import Table
from rich.text import Text

from distillkit.api import DistillkitError, UsageError
from distillkit.cli import arguments, claim, compare, launch, screen
from distillkit.cli.console import console
from distillkit.registry import Catalog
from distillkit.study import read
from distillkit.study.queue import Queue
from distillkit.study.results import write_markdown
from distillkit.study.whole import Lines, Show, note, planned, problems, whole
from distillkit.study.work import Progress, took

STYLES = {"running": "cyan", "finished": "green", "reused": "green", "diverged": "red", "collapsed": "red",
          "failed": "red", "left out": "red"}  # fmt: skip


def add(parser: ArgumentParser) -> None:
    parser.add_argument("study", type=Path, metavar="STUDY", help="a TOML file: name, seeds, [[vary.AXIS]], [[cell]]")
    parser.add_argument("--jobs", type=arguments.whole(1, 256), default=1, metavar="N",
                         help="runs at once, one thread each (%(default)s)")  # fmt: skip
    arguments.runs(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="for page, study.json and logs (RUNS/study-NAME)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables here as well")
    parser.add_argument("--reuse-collapsed", action="store_true", help="take runs that collapsed for finished ones")
    launch.on(parser.add_argument_group("where"), "put runs into the queue of a scheduler, such as slurm")
    parser.add_argument("--no-run", action="store_true", help="start nothing, compare what is finished")
    parser.add_argument("--claim", action="store_true",
                        help="test its [[claim]] tables; numbers go beside it, as STUDY.json and STUDY.md")  # fmt: skip


def main(args: Namespace) -> int:
    """Run what is missing, compare all -> exit code; 1 where a cell failed or nothing can be compared."""
    study = read(args.study, Catalog.installed())
    if args.claim:
        return claim.main(study, args, live, _queue(args))
    if study.claim:
        raise UsageError(f"{study.path} has [[claim]] tables: distillkit study --claim {study.path} tests them")
    done, results = whole(
        study, args.runs, args.out, live, at_once=args.jobs, queue=_queue(args), start=not args.no_run,
        collapsed=args.reuse_collapsed,
    )  # fmt: skip
    if results.comparison is not None:
        compare.show(results.comparison, console(), results.page)
    else:
        print(f"error: nothing to compare: {results.why_not}", file=sys.stderr)
    print(f"json  {results.json}")
    if args.markdown and results.comparison is not None:
        write_markdown(study, results, args.markdown, note(done, args.jobs))
    odd, bad = problems(done)
    for kind, told in (("warning", odd), ("error", bad)):
        for line in told:
            print(f"{kind}: {line}", file=sys.stderr)
    return DistillkitError.exit_code if bad or results.comparison is None else 0


def _queue(args: Namespace) -> Queue | None:
    """Where runs go; None: they are processes here."""
    if args.on in (None, "local"):
        if args.with_ or args.nodes > 1 or args.gpus:
            raise UsageError("--with, --nodes and --gpus go with --on NAME; distillkit plugins --kind launch")
        return None
    return Queue(launch.chosen(args.on, args.with_), args.nodes, args.gpus)


@contextmanager
def live(found: Sequence[Progress]) -> Iterator[Show]:
    """Show the plan, then a live table on a terminal, a line per change elsewhere."""
    rows, sum_ = planned(found)
    screen.choose().plan(rows)
    print(sum_, flush=True)
    out = console()
    if not out.is_terminal:
        yield Lines(lambda line: print(line, flush=True))
        return
    with Live(console=out, auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield lambda all_: live.update(_table(all_), refresh=True)


def _table(all_: Sequence[Progress]) -> Table:
    names = min(32, max(len(one.job.name) for one in all_))
    shown = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    shown.add_column("run", overflow="ellipsis", no_wrap=True, width=names)
    shown.add_column("state", no_wrap=True, width=10)
    shown.add_column("time", no_wrap=True, width=11, justify="right")
    shown.add_column("", style="dim", overflow="ellipsis", no_wrap=True, ratio=1)
    for one in all_:
        told = one.last_line if one.state == "running" else one.reason
        shown.add_row(Text(one.job.name), Text(one.state, STYLES.get(one.state, "dim")), took(one), Text(told))
    return shown
