"""A comparison as a notebook shows it: its tables, and a sheet of each group."""

from __future__ import annotations

from html import escape
from pathlib import Path

from distillkit.compare import matrix
from distillkit.compare.comparison import Comparison
from distillkit.compare.tables import Cell, Table
from distillkit.show import notebook

PICTURES = 8  # at most: they are kept in the notebook's file
WIDTH = "330px"


def html_of(c: Comparison) -> str:
    """All tables, those with curves first, then one sheet of samples per group, all of the same noise."""
    having = [(group.label, run.picture) for group in c.groups for run in group.finished[:1] if run.picture]
    sheets = "".join(_sheet(path, label) for label, path in having[:PICTURES])
    return "".join(map(_table, matrix.every(c, ()))) + (f"<div>{sheets}</div>" if sheets else "")


def _table(table: Table) -> str:
    rows = [[(cell.text, _mark(cell)) for cell in row] for row in table.rows]
    return notebook.table(table.head, rows, table.title, table.note)


def _mark(cell: Cell) -> str:
    return "b" if cell.best else "i" if cell.worse else "span"


def _sheet(path: Path, label: str) -> str:
    drawn = notebook.picture(path, f"samples of {label}", WIDTH)
    told = f"<figcaption>{escape(label)}</figcaption>"
    return f'<figure style="display:inline-block;margin:4px;max-width:100%">{drawn}{told}</figure>'
