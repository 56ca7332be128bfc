"""The table of metrics: teacher, student, real images; and what evaluations say of them."""

from __future__ import annotations

import re
from html import escape

from distillkit.disk.results import Row
from distillkit.show import formats, names
from distillkit.show.beside import relation
from distillkit.show.saved import Saved
from distillkit.show.sections import glossary

ARROWS = {"lower": "&darr;", "higher": "&uarr;"}
SHOWN = ("better", "worse", "within")  # relations that stand beside a number; the others say that nothing is known
CAPTION = (
    "&darr; lower is better, &uarr; higher is better; &plusmn; is a standard deviation; better and worse are by more "
    f'than two of them. <a href="#{glossary.ID}">What they mean</a>'
)


def table(run: Saved) -> str:
    """A row for each metric; nothing where nothing was measured."""
    scores = run.scores
    rows = scores.rows()
    if not rows:
        return ""
    taught = any(row.teacher is not None for row in rows)
    heads = ['<th scope="col">metric</th>', *([_head("teacher", scores.teacher_nfe)] if taught else [])]
    heads.append(_head("student" if scores.teacher else "this run", scores.nfe))
    heads.append(f'<th scope="col">real v real<small>{formats.FLOORS}</small></th>')
    lines = [_row(run, row, taught) for row in rows]
    head = f"<caption>{CAPTION}</caption><thead><tr>{''.join(heads)}</tr></thead>"
    body = f"<tbody>{chr(10).join(lines)}</tbody>"
    return f'<div class="scroll"><table class="scores">{head}\n{body}</table></div>{_start(run)}'


def _row(run: Saved, row: Row, taught: bool) -> str:
    way, meaning = run.way(row.name), run.meaning(row.name)
    told = re.sub("([/_])", r"\1<wbr>", escape(row.name))  # where a phone may break it
    if meaning:
        told = f'<abbr title="{escape(meaning)}">{told}</abbr>'
    if way in ARROWS:
        told += f' <span class="way" role="img" aria-label="{way} is better">{ARROWS[way]}</span>'
    how = relation(row, way)
    mark = f'<small class="how">{how}</small>' if how in SHOWN else ""
    cells = [f'<th scope="row">{told}</th>']
    cells += [f"<td>{_value(row.teacher, row.teacher_sd)}</td>"] if taught else []
    cells.append(f'<td class="student">{_value(row.student, row.student_sd)}{mark}</td>')
    cells.append(f"<td>{_value(row.floor, row.floor_sd)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _start(run: Saved) -> str:
    """What the untouched teacher's one step scored, where the run measured it."""
    short = names.short(run.start)
    told = ", ".join(f"{escape(short[name])} {formats.number(value)}" for name, value in run.start.items())
    return f'<p class="note">Before training, the untouched teacher sampled as the student: {told}.</p>' if told else ""


def remarks(run: Saved) -> str:
    """What evaluate components say of the numbers, and what is left out of the table."""
    told = [*run.scores.remarks, *run.scores.left_out()]
    return "\n".join(f'<p class="failed">{escape(text)}</p>' for text in told)


def _head(name: str, nfe: int | None) -> str:
    return f'<th scope="col">{name}{f"<small>NFE {nfe}</small>" if nfe else ""}</th>'


def _value(value: float | None, sd: float | None = None) -> str:
    if value is None:
        return "&ndash;"
    return formats.number(value) + (f" <small>&plusmn; {sd:.2g}</small>" if sd is not None else "")
