"""What came out of a run, on one panel: teacher against student, floors, and where the files are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from distillkit.compare.curves import Spread
from distillkit.disk import alike
from distillkit.disk.results import Outcome, Scores
from distillkit.show import formats

MISSING = "-"
REAL = "real v real"


def outcome(run: Outcome) -> RenderableType:
    """Draw the panel at the end of a run."""
    time = "reused, nothing was run" if run.reused else formats.duration(run.scores.seconds)
    sick = run.status == "collapsed"
    end = Text.assemble(("collapsed, " if sick else "", "bold red"), (time, "dim"))
    told = [run.scores.note, *run.scores.remarks, *run.scores.left_out()]
    notes = [Text(text, "bold red" if text.startswith("collapsed: ") else "yellow") for text in told if text]
    body = Group(_metrics(run.scores), Text(), *notes, *[Text()] * bool(notes), _files(run.run_dir))
    return _panel(body, run.recipe_name, style="red" if sick else "cyan", subtitle=end, subtitle_align="right")


def spread(runs: Sequence[Outcome], seeds: Sequence[int]) -> RenderableType:
    """Draw mean and sample standard deviation of every metric over runs that differ in their seed."""
    tables = [run.scores.rows() for run in runs]
    taught = any(row.teacher is not None for table in tables for row in table)
    shown = _table("metric", *["teacher"] * taught, "student" if taught else "this recipe", REAL)
    apart = _apart([run.scores for run in runs])
    for first in [row for row in tables[0] if alike.component(row.name) not in apart]:
        same = [row for table in tables for row in table if row.name == first.name]
        teacher = [_mean([row.teacher for row in same])] if taught else []
        shown.add_row(first.name, *teacher, _mean([row.student for row in same]), _mean([row.floor for row in same]))
    title = f"{runs[0].recipe_name}, {len(runs)} seeds: {', '.join(map(str, seeds))}"
    notes = [Text(f"{name} is left out: the runs differ in {why}", "yellow") for name, why in apart.items()]
    notes.append(Text("mean \N{PLUS-MINUS SIGN} standard deviation over seeds", "dim"))
    return _panel(Group(shown, Text(), *notes), title)


def _apart(scores: Sequence[Scores]) -> dict[str, str]:
    """Name the components that did not measure all runs alike, with the facts that differ."""
    names = dict.fromkeys(alike.component(metric) for each in scores for metric in each.student)
    differ = {name: alike.differing([each.protocol.get(name, {}) for each in scores]) for name in names}
    return {name: ", ".join(keys) for name, keys in differ.items() if keys}


def _panel(body: RenderableType, title: str, style: str = "cyan", **more: Any) -> Panel:
    return Panel(body, title=Text(title, "bold"), title_align="left", padding=(1, 2), border_style=style, **more)


def _metrics(scores: Scores) -> RenderableType:
    rows = scores.rows()
    if not rows:
        return Text("no metrics" if scores.note else "no metrics: the recipe has no [[evaluate]]", "dim")
    taught = any(row.teacher is not None for row in rows)
    heads = [f"teacher\nNFE {scores.teacher_nfe}"] if taught else []
    ours = "student" if scores.teacher else "this run"
    shown = _table("metric", *heads, f"{ours}\nNFE {scores.nfe}", f"{REAL}\n{formats.FLOORS}")
    for row in rows:
        left = [_value(row.teacher, row.teacher_sd)] if taught else []
        shown.add_row(row.name, *left, _value(row.student, row.student_sd), _value(row.floor, row.floor_sd))
    return shown


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _files(run_dir: Path) -> RenderableType:
    samples = run_dir / "samples"
    pictures = [*sorted(samples.glob("kimg-*.png")), *samples.glob("comparison.png")]  # the last is shown
    named: list[tuple[str, Any]] = [("run", run_dir)]
    named += [("picture", path) for path in pictures[-1:]]
    named += [("report", path) for path in [run_dir / "report.html"] if path.exists()]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, path in named:
        grid.add_row(name, str(path))
    return grid


def _value(value: float | None, sd: float | None) -> str:
    return MISSING if value is None else formats.with_spread(value, sd)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return MISSING
    spread = Spread.of(known)
    return _value(spread.mean, spread.sd if len(set(known)) > 1 else None)  # a teacher of all runs has no spread
