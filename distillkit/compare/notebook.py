"""A comparison as a notebook shows it: its tables and a sheet of each group, without style sheet or script."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from distillkit.compare import matrix
from distillkit.compare.comparison import Comparison
from distillkit.compare.tables import Cell, Table

PICTURES = 8  # at most: they are kept in the notebook's file
WIDTH = 200  # pixels of a sheet


def html_of(c: Comparison) -> str:
    """All tables, those with curves first, then one sheet of samples per group, all of the same noise."""
    having = [(group.label, run.picture) for group in c.groups for run in group.finished[:1] if run.picture]
    sheets = "".join(_sheet(path, label) for label, path in having[:PICTURES])
    return "".join(map(_table, matrix.every(c, ()))) + (f"<div>{sheets}</div>" if sheets else "")


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(first.text)}</th>{"".join(map(_cell, rest))}</tr>'
        for first, *rest in table.rows
    )  # fmt: skip
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    return f"<table><caption>{escape(table.title)}</caption><tr>{head}</tr>{rows}</table>{note}"


def _cell(cell: Cell) -> str:
    mark = "b" if cell.best else "i" if cell.worse else "span"
    return f"<td><{mark}>{escape(cell.text)}</{mark}></td>"


def _sheet(path: Path, label: str) -> str:
    return (
        f'<figure style="display:inline-block;margin:4px">{picture(path, f"samples of {label}", WIDTH)}'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def picture(path: Path, told: str, width: int | None = None) -> str:
    """An <img> that holds the file; pixels are enlarged as they are."""
    data = base64.b64encode(path.read_bytes()).decode()
    size = f' width="{width}"' if width else ""
    return f'<img alt="{escape(told)}"{size} style="image-rendering:pixelated" src="data:image/png;base64,{data}">'
