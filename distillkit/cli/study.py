"""`distillkit study`: many runs from one file, shown while they work and compared at the end."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.live import Live
from rich.table import Table
from rich.text import Text

from distillkit.api import DistillkitError, UsageError
from distillkit.cli import arguments, compare, launch, screen
from distillkit.cli.console import console
from distillkit.registry import Catalog
from distillkit.study import jobs, look, read, work, write_results
from distillkit.study.queue import Queue
from distillkit.study.results import write_markdown
from distillkit.study.work import DONE, Progress, took

STYLES = {"running": "cyan", "finished": "green", "reused": "green", "diverged": "red", "collapsed": "red",
          "failed": "red", "left out": "red"}  # fmt: skip
Show = Callable[[Sequence[Progress]], None]


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


def main(args: Namespace) -> int:
    """Run what is missing, compare all -> exit code; 1 where a cell failed or nothing can be compared."""
    study = read(args.study, Catalog.installed())
    todo = jobs(study, Catalog.installed(), args.reuse_collapsed)
    out = _made(args.out or args.runs / f"study-{study.name}")
    queue = _queue(args)
    if args.no_run:
        done = look(todo, args.runs, out / "logs")
    else:
        _plan(look(todo, args.runs, out / "logs"))
        with _screen() as show:
            done = work(todo, args.runs, out / "logs", args.jobs, show, queue)
    note = _note(done, args.jobs)
    results = write_results(study, done, args.runs, out, note)
    if results.comparison is not None:
        compare.show(results.comparison, console(), results.page)
    else:
        print(f"error: nothing to compare: {results.why_not}", file=sys.stderr)
    print(f"json  {results.json}")
    if args.markdown and results.comparison is not None:
        write_markdown(study, results, args.markdown, note)
    for one in done:
        if one.reason and not one.bad:
            print(f"warning: {one.job.name} is taken as it is, it {one.reason}", file=sys.stderr)
    bad = [one for one in done if one.bad]
    for one in bad:
        print(f"error: {one.job.name} {one.state}: {one.reason}; log: {one.log}", file=sys.stderr)
    return DistillkitError.exit_code if bad or results.comparison is None else 0


def _queue(args: Namespace) -> Queue | None:
    """Where runs go; None: they are processes here."""
    if args.on in (None, "local"):
        if args.with_ or args.nodes > 1 or args.gpus:
            raise UsageError("--with, --nodes and --gpus go with --on NAME; distillkit plugins --kind launch")
        return None
    return Queue(launch.chosen(args.on, args.with_), args.nodes, args.gpus)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {error.strerror}; --out names another folder") from error
    return folder


def _note(done: Sequence[Progress], at_once: int) -> str:
    """Say what a reader must know of how the numbers came about."""
    cells = [one for one in done if one.job.cell]
    finished = sum(one.state in DONE for one in cells)
    parts = [f"{at_once} runs at once"] if at_once > 1 else []
    return ", ".join(parts + ([f"{finished} of {len(cells)} runs finished"] if finished < len(cells) else []))


def _plan(all_: Sequence[Progress]) -> None:
    """Show all runs before the first starts: what is there already, and what each of the others takes."""
    done = {"reused": "reuse", "waiting": ""}
    rows = [
        {
            "run": one.job.name, "method": one.job.node.recipe.generator_loss.name,
            "to do": done.get(one.state, one.state) or f"{one.job.node.recipe.run.kimg:g} kimg",
        }
        for one in all_
    ]  # fmt: skip
    screen.choose().plan(rows)
    print(f"{len(all_)} runs, {sum(one.job.cell is not None for one in all_)} of them compared", flush=True)


@contextmanager
def _screen() -> Iterator[Show]:
    """Show a live table on a terminal, a line per change elsewhere."""
    out = console()
    if not out.is_terminal:
        yield _Lines()
        return
    with Live(console=out, auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield lambda all_: live.update(_table(all_), refresh=True)


class _Lines:
    """One line when a run starts or ends."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def __call__(self, all_: Sequence[Progress]) -> None:
        for one in all_:
            if self.told.get(one.job.fingerprint, "waiting") != one.state:
                self.told[one.job.fingerprint] = one.state
                after = f" after {took(one)}" if one.seconds else ""
                print(f"{one.state:9} {one.job.name}{after}", flush=True)


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
