"""Tables and pictures as notebooks show them: no style sheet, no script, colours of the notebook's own."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

Marked = tuple[str, str]  # text, and the element around it: "b", "i" or "span"


def table(head: Sequence[str], rows: Sequence[Sequence[Marked]], caption: str = "", note: str = "") -> str:
    """A table whose first column names the rows; a narrow window scrolls it."""
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    first = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(_cell(cell, i == 0) for i, cell in enumerate(row))}</tr>" for row in rows)
    below = f"<p>{escape(note)}</p>" if note else ""
    return f'<div style="overflow-x:auto"><table>{told}<tr>{first}</tr>{body}</table></div>{below}'


def _cell(cell: Marked, names: bool) -> str:
    text, mark = escape(cell[0]), cell[1]
    told = text if mark == "span" else f"<{mark}>{text}</{mark}>"
    kind = 'th scope="row"' if names else "td"
    return f"<{kind}>{told}</{kind[:2]}>"


def picture(path: Path, told: str, width: str = "100%") -> str:
    """An <img> that holds the file, no wider than the window; `told` is for those who do not see it."""
    data = base64.b64encode(path.read_bytes()).decode()
    style = f"max-width:{width};height:auto"
    return f'<img alt="{escape(told)}" style="{style}" src="data:image/png;base64,{data}">'
