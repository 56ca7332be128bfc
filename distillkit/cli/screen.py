"""The live screen of a run on a terminal: bars with speed, losses and time left; lines that stay."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from distillkit.cli.console import console
from distillkit.show import formats
from distillkit.show.screen import Bar, QuietScreen, Screen


def choose() -> Screen:
    """Choose bars when a person watches, plain lines otherwise."""
    if not sys.stderr.isatty():
        return QuietScreen()
    bars = console(stderr=True)
    # On one terminal, lines must go through the console that draws the bars, or they tear them.
    return RichScreen(bars if sys.stdout.isatty() else console(), bars)


class RichScreen:
    """Lines on one console, bars and warnings on another or the same."""

    def __init__(self, lines: Console, bars: Console) -> None:
        self.lines, self.bars = lines, bars
        self.live: Progress | None = None

    def plan(self, rows: Sequence[Mapping[str, str]]) -> None:
        if not rows:
            return
        table = Table(*rows[0], box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
        for row in rows:
            table.add_row(*row.values())
        self.lines.print(Padding(table, (1, 0, 0, 2)))

    def stage(self, name: str) -> None:
        self.lines.print()
        self.lines.print(Text(name, "bold"))

    def line(self, text: str) -> None:
        if self.lines.is_terminal:
            self.lines.print(Padding(Text(text), (0, 0, 0, 2)))
        else:
            self.lines.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        self.bars.print(Text.assemble(("warning: ", "yellow"), text), soft_wrap=True)

    @contextmanager
    def progress(self, what: str, total: float, unit: str) -> Iterator[Bar]:
        outer = self.live
        if outer is None:
            self.live = _Live(self.bars)
            self.live.start()
        assert self.live is not None
        task = self.live.add_task(what, total=total, unit=unit, numbers={})
        try:
            yield RichBar(self.live, task)
        finally:
            self.live.remove_task(task)
            if outer is None:
                self.live.stop()
                self.live = None


class RichBar:
    """One task of the live display."""

    def __init__(self, live: Progress, task: TaskID) -> None:
        self.live, self.task, self.numbers = live, task, dict[str, float]()

    def advance(self, n: float, **fields: float) -> None:
        self.numbers |= fields
        self.live.update(self.task, advance=n, numbers=self.numbers)


class _Live(Progress):
    """rich's progress with the latest numbers of each task on a line of their own."""

    def __init__(self, bars: Console) -> None:
        super().__init__(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=None, complete_style="cyan", finished_style="cyan", pulse_style="cyan"),
            _Done(), _Rate(), _Left(),
            console=bars, transient=True, expand=True, refresh_per_second=4, redirect_stdout=sys.stdout.isatty(),
        )  # fmt: skip

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.fields["numbers"]:
                yield Padding(Text(formats.numbers(task.fields["numbers"]), "dim"), (0, 0, 0, 2))


class _Done(ProgressColumn):
    def render(self, task: Task) -> Text:
        done, total, unit = task.completed, task.total or 0, task.fields["unit"]
        if unit == "img" and total >= 1000:
            done, total, unit = done / 1000, total / 1000, "kimg"
        digits = 1 if (total < 100 and total != int(total)) or (unit == "kimg" and total < 100) else 0
        return Text(f"{done:.{digits}f}/{total:.{digits}f} {unit}", no_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{formats.rate(task.speed)} {task.fields['unit']}/s" if task.speed else "", no_wrap=True)


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = task.time_remaining
        return Text(f"{formats.duration(left)} left" if left is not None else "", "cyan", no_wrap=True)
