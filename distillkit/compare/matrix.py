"""Tables of a comparison in rows: one metric each, rows against columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

from distillkit.compare import tables
from distillkit.compare.comparison import Comparison
from distillkit.compare.curves import LAST
from distillkit.compare.differ import STATED, gain
from distillkit.compare.groups import Group
from distillkit.compare.tables import MISSING, PLUS_MINUS, Cell, Table


def every(c: Comparison, metrics: Sequence[str]) -> list[Table]:
    """Make all tables of a comparison; those of its rows, for `metrics`, come first."""
    if not c.rows:
        return [tables.final(c), *(tables.way(c, target) for target in c.targets)]
    beside = [tables.way(c.rest, target) for target in c.rest.targets] if c.rest else []
    return [*finals(c, metrics), *ways(c), *beside, tables.final(c)]


def finals(c: Comparison, metrics: Sequence[str]) -> list[Table]:
    """Make a table of final values per metric, those with curves first; the first table has the note."""
    main = [target.metric for target in c.targets]
    order = [*main, *(name for name in metrics if name not in main)]
    note = (
        f"Mean {PLUS_MINUS} standard deviation over seeds. Bold is better than {first(c)!r} of the same row, italic "
        f"worse, {STATED}."
    )
    return [_final(c, metric, note if metric == order[0] else "") for metric in order]


def first(c: Comparison) -> str:
    """Name the column that the others are compared with."""
    return next(iter(c.rows.values())).baseline.label


def _head(c: Comparison) -> list[str]:
    return [group.label for group in next(iter(c.rows.values())).groups]


def _final(c: Comparison, metric: str, note: str) -> Table:
    most = max(len(group.finished) for group in c.groups)
    rows = [[Cell(name), *(_value(row, group, metric, most) for group in row.groups)] for name, row in c.rows.items()]
    return Table(f"final {metric} {tables.arrow(c, metric)}".strip(), ["", *_head(c)], rows, note)


def _value(row: Comparison, group: Group, metric: str, most: int) -> Cell:
    """Write mean and spread, with the number of seeds if others have more; without a number, how runs ended."""
    value, base = row.final(group, metric), row.final(row.baseline, metric)
    if value is None:
        return Cell(MISSING if group.finished or not group.runs else group.seeds.partition(", ")[2])
    text = tables.spread(value) + (f" (n={value.n})" if value.n < most else "")
    better = gain(value, base, row.higher(metric)) if base else 0.0
    return Cell(text, best=better > 0, worse=better < 0)


def ways(c: Comparison) -> list[Table]:
    """Make tables of images, then seconds, until the final value of the row's first cell; the first has the note."""
    near = f", made worse by {100 * c.within:g} %" if c.within else ""
    note = (
        f"To reach: the mean of the last {LAST} evaluations of {first(c)!r} in that row{near}. It is reached where the "
        "mean curve over seeds, a straight line between evaluations, first is as good. In brackets: the share of what "
        f"{first(c)!r} needs. Seconds are of training alone, and depend on what else the machine did."
    )
    made = [_way(c, i, axis) for i in range(len(c.targets)) for axis in ("kimg", "seconds")]
    return [Table(one.title, one.head, one.rows, note if one is made[0] else "") for one in made]


def _way(c: Comparison, i: int, axis: str) -> Table:
    rows = []
    for name, row in c.rows.items():
        target = row.targets[i]
        goal = tables.goal(target) if math.isfinite(target.value) else MISSING
        places = [tables.place(row, group, target, axis) for group in row.groups]
        rows.append([Cell(text) for text in (name, goal, *places)])
    title = f"{axis} until {c.targets[i].metric} is as good as {first(c)!r} of that row at its end"
    return Table(title, ["", "to reach", *_head(c)], rows)


def markdown(c: Comparison) -> str:
    """Write all tables as GitHub's Markdown, one below the other."""
    return "\n\n".join(markdown_of(table) for table in every(c, c.metrics)) + "\n"


def markdown_of(table: Table) -> str:
    """Write one table, its title above and its note below."""
    lines = ["| " + " | ".join(table.head) + " |", "|" + "---|" + "---:|" * (len(table.head) - 1)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    title = f"{table.title[0].upper()}{table.title[1:]}\n\n"
    return title + "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def _cell(cell: Cell) -> str:
    mark = "**" if cell.best else "*" if cell.worse else ""
    return f"{mark}{cell.text}{mark}".replace("|", "\\|")
