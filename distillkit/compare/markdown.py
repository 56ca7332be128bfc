"""A comparison as GitHub's Markdown."""

from __future__ import annotations

from distillkit.compare import matrix
from distillkit.compare.comparison import Comparison
from distillkit.compare.tables import Cell, Table


def markdown(c: Comparison) -> str:
    """All tables, one below the other."""
    return "\n\n".join(_table(table) for table in matrix.every(c, c.metrics)) + "\n"


def _table(table: Table) -> str:
    lines = ["| " + " | ".join(table.head) + " |", "|" + "---|" + "---:|" * (len(table.head) - 1)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    title = f"{table.title[0].upper()}{table.title[1:]}\n\n"
    return title + "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def _cell(cell: Cell) -> str:
    mark = "**" if cell.best else "*" if cell.worse else ""
    return f"{mark}{cell.text}{mark}".replace("|", "\\|")
