"""The table of metrics: teacher, student, real images; and what evaluations say of them."""

from __future__ import annotations

from html import escape

from distillkit.show import formats
from distillkit.show.saved import Saved


def table(run: Saved) -> str:
    """A row for each metric; nothing where nothing was measured."""
    scores = run.scores
    rows = scores.rows()
    if not rows:
        return ""
    taught = any(row.teacher is not None for row in rows)
    heads = [_head("teacher", scores.teacher_nfe)] if taught else []
    heads += [
        _head("student" if scores.teacher else "this run", scores.nfe),
        f"<th>real v real<small>{formats.FLOORS}</small></th>",
    ]
    lines = []
    for row in rows:
        cells = [f"<td>{escape(row.name)}</td>"]
        cells += [f"<td>{_value(row.teacher, row.teacher_sd)}</td>"] if taught else []
        cells += [
            f'<td class="student">{_value(row.student, row.student_sd)}</td>',
            f"<td>{_value(row.floor, row.floor_sd)}</td>",
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = f"<tr><th>metric</th>{''.join(heads)}</tr>"
    return f'<div class="scroll"><table class="scores">{head}\n{chr(10).join(lines)}</table></div>'


def remarks(run: Saved) -> str:
    """What evaluate components say of the numbers, and what is left out of the table."""
    told = [*run.scores.remarks, *run.scores.left_out()]
    return "\n".join(f'<p class="failed">{escape(text)}</p>' for text in told)


def _head(name: str, nfe: int | None) -> str:
    return f"<th>{name}{f'<small>NFE {nfe}</small>' if nfe else ''}</th>"


def _value(value: float | None, sd: float | None = None) -> str:
    if value is None:
        return "&ndash;"
    return formats.number(value) + (f" <small>&plusmn; {sd:.2g}</small>" if sd is not None else "")
