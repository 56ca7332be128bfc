"""Curves and samples of a comparison, as parts of its page: mean curves in bands of one standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from distillkit.compare import tables
from distillkit.compare.comparison import Comparison, Target
from distillkit.compare.curves import Point
from distillkit.compare.groups import Group
from distillkit.show import html, svg

COLOURS = 6  # CSS classes s0 ... s5
DASHES = 3  # dash0 is none
SPREAD = "Lines are means over seeds, bands one standard deviation to each side"


def legend(c: Comparison, seeds: bool = True) -> str:
    """List the groups in their colours; `seeds`: with how many each has."""
    entries = [
        f'<span data-series="{escape(group.label)}"><i class="{style(i)}"></i>{escape(group.label)}'
        + (f" <small>{escape(_seeds(group))}</small></span>" if seeds else "</span>")
        for i, group in enumerate(c.groups)
    ]
    return f'<p class="legend">{"".join(entries)}</p>\n'


def _seeds(group: Group) -> str:
    return "1 seed" if group.seeds == "1" else f"{group.seeds} seeds" if group.seeds.isdigit() else group.seeds


def charts(c: Comparison) -> str:
    """Draw each metric against images and against seconds."""
    drawn = [svg.draw(_chart(c, target, axis)) for target in c.targets for axis in ("kimg", "seconds")]
    return f'{_grid(drawn, "wide")}\n<p class="sub">{SPREAD}; seconds are of training alone.</p>'


def multiples(c: Comparison) -> str:
    """Draw each metric against images, one small chart per row."""
    parts = [legend(next(iter(c.rows.values())), seeds=False)]
    for i, target in enumerate(c.targets):
        known = {name: row for name, row in c.rows.items() if any(row.curve(g, target.metric) for g in row.groups)}
        drawn = [svg.draw(_chart(row, row.targets[i], "kimg", name)) for name, row in known.items()]
        parts += [f"<h3>{escape(target.metric)} {tables.arrow(c, target.metric)}</h3>", _grid(drawn, "small")]
    return "\n".join([*parts, f'<p class="sub">{SPREAD}. Each chart has its own scale.</p>'])


def _grid(drawn: list[str], css: str) -> str:
    return f'<div class="charts {css}">' + "\n".join(f"<div>{chart}</div>" for chart in drawn) + "</div>"


def _chart(c: Comparison, target: Target, axis: str, title: str = "") -> svg.Chart:
    """Mean curves of the groups over "kimg" or "seconds"."""
    references = {"baseline's end": target.final, "teacher": c.reference("teacher", target.metric)}
    known = {name: value for name, value in references.items() if value is not None}
    title = f"{title or f'{target.metric} {tables.arrow(c, target.metric)}'} against {axis}"
    series = [_series(group.label, i, c.curve(group, target.metric), axis) for i, group in enumerate(c.groups)]
    return svg.Chart(title=title, series=series, x_label=axis, references=known)


def _series(name: str, i: int, points: Sequence[Point], axis: str) -> svg.Series:
    return svg.Series(
        name=name, points=[(getattr(p, axis), p.value.mean) for p in points], css=style(i),
        spreads=[p.value.sd or 0.0 for p in points], seconds=[p.seconds for p in points] if axis == "kimg" else (),
    )  # fmt: skip


def pictures(c: Comparison, css: str = "half", row: str = "") -> str:
    """Show one sheet per group, of a seed that all groups have if there is one."""
    having = {group.label: [run for run in group.finished if run.picture] for group in c.groups}
    seeds = [{run.seed for run in runs} for runs in having.values() if runs]
    common = set.intersection(*seeds) if seeds else set()
    drawn = []
    for label, runs in having.items():
        run = next((run for run in runs if run.seed in common or not common), None)
        if run and run.picture:
            drawn.append(html.picture(run.picture, f"{', '.join(filter(None, (row, label)))}, seed {run.seed}", css))
    return f'<div class="pictures">{"".join(drawn)}</div>' if drawn else ""


def style(i: int) -> str:
    """Name the CSS classes of the i-th group: its colour, then a dash where colours begin again."""
    return f"s{i % COLOURS}" + (f" dash{i // COLOURS % DASHES}" if i >= COLOURS else "")
