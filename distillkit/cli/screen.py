"""The live screen of a run on a terminal: bars with speed, losses and time left; lines that stay."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import Progress, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from distillkit.cli.console import console
from distillkit.show import formats, ticks
from distillkit.show.screen import Bar, QuietScreen, Screen, table

INDENT = "  "  # of lines below a heading, on a terminal
SMOOTH = 5.0  # seconds over which a speed is smoothed


def choose() -> Screen:
    """Choose bars when a person watches, plain lines otherwise."""
    if not sys.stderr.isatty():
        return QuietScreen()
    bars = console(stderr=True)
    # On one terminal, lines must go through the console that draws the bars, or they tear them.
    return RichScreen(bars if sys.stdout.isatty() else console(), bars)


class RichScreen:
    """Lines on one console, bars and warnings on another or the same. No line is broken: paths and URLs stay whole."""

    def __init__(self, lines: Console, bars: Console) -> None:
        self.lines, self.bars = lines, bars
        self.live: Progress | None = None

    @property
    def width(self) -> int:
        return self.lines.width - len(self._indent)

    @property
    def _indent(self) -> str:
        return INDENT if self.lines.is_terminal else ""

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        for i, text in enumerate(table(rows)):
            self.lines.print(Text(text, "" if i else "dim"), soft_wrap=True)

    def stage(self, name: str) -> None:
        self.lines.print()
        self.lines.print(Text(name, "bold"), soft_wrap=True)

    def line(self, text: str) -> None:
        self.lines.print(Text(self._indent + text), soft_wrap=True)

    def head(self, text: str) -> None:
        self.lines.print(Text(self._indent + text, "dim"), soft_wrap=True)

    def warn(self, text: str) -> None:
        self.bars.print(Text.assemble(("warning: ", "yellow"), text), soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: float | None, unit: str) -> Iterator[Bar]:
        outer = self.live
        if outer is None:
            self.live = Bars(self.bars)
            self.live.start()
        assert self.live is not None
        task = self.live.add_task(what, total=total, unit=unit, speed=0.0, seconds=0.0)
        try:
            yield RichBar(self.live, task)
        finally:
            self.live.remove_task(task)
            if outer is None:
                self.live.stop()
                self.live = None


class RichBar:
    """One task of the live display, with its speed of the last seconds."""

    def __init__(self, live: Progress, task: TaskID) -> None:
        self.live, self.task = live, task
        self.last, self.seconds, self.speed = time.perf_counter(), 0.0, 0.0

    def advance(self, n: float, seconds: float | None = None) -> None:
        now = time.perf_counter()
        took = max(now - self.last if seconds is None else seconds, 1e-9)
        new = 1 - math.exp(-took / SMOOTH) if self.speed else 1.0
        self.speed += (n / took - self.speed) * new
        self.last, self.seconds = now, self.seconds + took
        self.live.update(self.task, advance=n, speed=self.speed, seconds=self.seconds)


class Bars(Progress):
    """What goes on now, a line each: a run as a line of its columns and a bar, anything else in words."""

    def __init__(self, bars: Console) -> None:
        super().__init__(
            console=bars, transient=True, expand=True, refresh_per_second=4, redirect_stdout=sys.stdout.isatty()
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield _run(task) if task.total is not None and task.fields["unit"] == "img" else _wait(task)


def _run(task: Task) -> RenderableType:
    total = task.total or 1
    here = ticks.place(task.completed, total, task.fields["speed"], task.fields["seconds"])
    grid = Table.grid(Column(no_wrap=True), Column(ratio=1), Column(no_wrap=True), padding=(0, 2, 0, 0), expand=True)
    grid.add_row(INDENT + here, ProgressBar(total, task.completed, complete_style="cyan", finished_style="cyan"),
                 Text(f"{task.completed / total:.0%}", "cyan"))  # fmt: skip
    return grid


def _wait(task: Task) -> RenderableType:
    told = [task.description]
    if task.completed:
        of = "" if task.total is None else f" of {task.total:,.0f}"
        told += [f"{task.completed:,.0f}{of} {'images' if task.fields['unit'] == 'img' else task.fields['unit']}"]
    if task.fields["speed"] and task.total is None:
        told += [f"{formats.rate(task.fields['speed'])} {task.fields['unit']}/s"]
    told += [formats.clock(task.elapsed or 0.0)]
    return Text(f"{INDENT}{', '.join(told)} ...", "dim", no_wrap=True, overflow="ellipsis")
