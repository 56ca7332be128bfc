"""Tables of a comparison as HTML that fits: numbers over their spread, too many columns in several tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from distillkit.compare.tables import PLUS_MINUS, Cell, Table

FITS = 140  # characters of a row on a screen of 1280 pixels
GAP = 4  # characters of the space before a column
NAME = 24  # of the first column, which is broken into lines
WORD = 16  # of a head, which is broken as well


def table(made: Table, *, caption: bool = False, css: str = "compare") -> str:
    """Write the table; one that is too wide comes in parts, each with the first column again."""
    return "\n".join(_table(part, caption, css) for part in _parts(made))


def _table(made: Table, caption: bool, css: str) -> str:
    heads = [re.sub(r" (?=.$)", "\N{NO-BREAK SPACE}", name) for name in made.head[1:]]  # an arrow stays with its name
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    first = f'<th scope="col">{escape(made.head[0])}</th>' if made.head[0] else "<td></td>"
    lines = [f"<tr>{_row(row, made.head)}</tr>" for row in made.rows]
    told = f"<caption>{escape(made.title)}</caption>" if caption and made.title else ""
    # On a narrow screen it may have to be scrolled, also by keys.
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(made.title or made.head[-1])}">'
    rows = f"<thead><tr>{first}{head}</tr></thead>\n<tbody>{chr(10).join(lines)}</tbody>"
    return f'{box}<table class="{css}">{told}{rows}</table></div>'


def _row(row: Sequence[Cell], heads: Sequence[str]) -> str:
    cells = [_cell(cell, head) for cell, head in zip(row[1:], heads[1:], strict=True)]
    return "".join([f'<th scope="row">{escape(row[0].text)}</th>', *cells])


def _cell(cell: Cell, head: str) -> str:
    """Name its column too: a phone shows cells below each other."""
    mark = ' class="best"' if cell.best else ' class="worse"' if cell.worse else ""
    value, sign, spread = cell.text.partition(f" {PLUS_MINUS} ")
    text = escape(value) + (f" <small>{PLUS_MINUS} {escape(spread)}</small>" if sign else "")
    return f'<td{mark} data-head="{escape(head)}">{text}</td>'


def _parts(made: Table) -> Iterator[Table]:
    """Cut columns into tables that fit."""
    first, at = 1, 1
    room = FITS - NAME
    for i in range(1, len(made.head)):
        wide = _wide(made, i)
        if room < wide and i > first:
            yield _columns(made, first, i)
            first, room = i, FITS - NAME
        room -= wide
        at = i + 1
    yield _columns(made, first, at)


def _wide(made: Table, i: int) -> int:
    values = [part for row in made.rows for part in row[i].text.split(f" {PLUS_MINUS} ")[:1]]
    return max(min(len(made.head[i]), WORD), *map(len, values), 0) + GAP


def _columns(made: Table, start: int, stop: int) -> Table:
    rows = [[row[0], *row[start:stop]] for row in made.rows]
    return Table(made.title, [made.head[0], *made.head[start:stop]], rows, made.note)
