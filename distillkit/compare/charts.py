"""Curves and samples of a comparison, as parts of its page: mean curves in bands of one standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from attrs import field, frozen

from distillkit.compare import tables
from distillkit.compare.comparison import Comparison, Target
from distillkit.compare.groups import Group
from distillkit.show import formats, html, svg

COLOURS = 6  # CSS classes s0 ... s5
LOG_FROM = 6.0  # ratio of values; earlier than in a report, since what matters is how curves differ at their ends
SPREAD = "Lines are means over seeds, bands one standard deviation to each side"


@frozen
class Spot:
    """A point of a mean curve; sd is 0 for one seed."""

    x: float
    mean: float
    sd: float


@frozen(kw_only=True)
class Chart:
    """Curves by name, in the order of their colours."""

    title: str
    curves: dict[str, Sequence[Spot]]
    x_label: str
    references: dict[str, float] = field(factory=dict)


def legend(c: Comparison, seeds: bool = True) -> str:
    """List the groups in their colours; `seeds`: with how many each has."""
    entries = [
        f'<span><i class="{colour(i)}"></i>{escape(group.label)}'
        + (f" <small>{escape(_seeds(group))}</small></span>" if seeds else "</span>")
        for i, group in enumerate(c.groups)
    ]
    return f'<p class="legend">{"".join(entries)}</p>\n'


def _seeds(group: Group) -> str:
    return "1 seed" if group.seeds == "1" else f"{group.seeds} seeds" if group.seeds.isdigit() else group.seeds


def charts(c: Comparison) -> str:
    """Draw each metric against images and against seconds."""
    drawn = [draw(_chart(c, target, axis)) for target in c.targets for axis in ("kimg", "seconds")]
    return f'{_grid(drawn, "wide")}\n<p class="sub">{SPREAD}; seconds are of training alone.</p>'


def multiples(c: Comparison) -> str:
    """Draw each metric against images, one small chart per row."""
    parts = [legend(next(iter(c.rows.values())), seeds=False)]
    for i, target in enumerate(c.targets):
        known = {name: row for name, row in c.rows.items() if any(row.curve(g, target.metric) for g in row.groups)}
        drawn = [draw(_chart(row, row.targets[i], "kimg", name)) for name, row in known.items()]
        parts += [f"<h3>{escape(target.metric)} {tables.arrow(c, target.metric)}</h3>", _grid(drawn, "small")]
    return "\n".join([*parts, f'<p class="sub">{SPREAD}. Each chart has its own scale.</p>'])


def _grid(drawn: list[str], css: str) -> str:
    return f'<div class="charts {css}">' + "\n".join(f"<div>{chart}</div>" for chart in drawn) + "</div>"


def _chart(c: Comparison, target: Target, axis: str, title: str = "") -> Chart:
    curves: dict[str, Sequence[Spot]] = {
        group.label: [Spot(getattr(p, axis), p.value.mean, p.value.sd or 0.0) for p in c.curve(group, target.metric)]
        for group in c.groups
    }
    references = {"baseline's end": target.final, "teacher": c.reference("teacher", target.metric)}
    known = {name: value for name, value in references.items() if value is not None}
    title = title or f"{target.metric} {tables.arrow(c, target.metric)}"
    return Chart(title=title, curves=curves, x_label=axis, references=known)


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


def colour(i: int) -> str:
    """Name the CSS class of the i-th group."""
    return f"s{i % COLOURS}"


def draw(chart: Chart) -> str:
    """Draw the chart as an <svg> element."""
    spots = [spot for curve in chart.curves.values() for spot in curve if svg.drawable(spot.mean)]
    references = {name: value for name, value in chart.references.items() if svg.drawable(value)}
    x_axis = svg.Axis.over([spot.x for spot in spots], svg.LEFT, svg.WIDTH - svg.RIGHT)
    y_axis = svg.Axis.over(
        _values(spots, list(references.values())), svg.HEIGHT - svg.BOTTOM, svg.TOP, pad=True, log_from=LOG_FROM
    )
    parts = [
        f'<svg viewBox="0 0 {svg.WIDTH} {svg.HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
        f'<text class="title" x="{svg.LEFT}" y="14">{escape(chart.title)} against {escape(chart.x_label)}</text>',
        *svg.grid(x_axis, y_axis, ""),
        *svg.reference_lines(references, y_axis),
    ]
    for i, (name, curve) in enumerate(chart.curves.items()):
        parts += _curve(name, colour(i), curve, chart.x_label, x_axis, y_axis)
    return "\n".join([*parts, "</svg>"])


def _values(spots: Sequence[Spot], references: list[float]) -> list[float]:
    """What the y axis must show; a band that reaches below zero does not take a logarithmic axis away."""
    values = [spot.mean for spot in spots] + references
    edges = [spot.mean - spot.sd for spot in spots] + [spot.mean + spot.sd for spot in spots]
    low, high = min(values, default=0.0), max(values, default=0.0)
    wide = low > 0 and high / low >= LOG_FROM
    return values + [edge for edge in edges if edge > low / 2 or not wide]


def _curve(
    name: str, css: str, curve: Sequence[Spot], x_label: str, x_axis: svg.Axis, y_axis: svg.Axis
) -> list[str]:  # fmt: skip
    parts, hits = [], []
    for run in _unbroken(curve):
        upper = [_place(spot.x, spot.mean + spot.sd, x_axis, y_axis) for spot in run]
        lower = [_place(spot.x, spot.mean - spot.sd, x_axis, y_axis) for spot in reversed(run)]
        if any(spot.sd for spot in run):
            parts.append(f'<polygon class="band {css}" points="{" ".join(upper + lower)}"/>')
        places = [_place(spot.x, spot.mean, x_axis, y_axis) for spot in run]
        parts.append(f'<polyline class="mean {css}" points="{" ".join(places)}"/>')
        for spot, place in zip(run, places, strict=True):
            x, y = place.split(",")
            sd = f" \N{PLUS-MINUS SIGN} {spot.sd:.2g}" if spot.sd else ""
            told = f"{escape(name)}, {formats.number(spot.x)} {escape(x_label)}: {formats.number(spot.mean)}{sd}"
            hits.append(f'<circle class="dot {css}" cx="{x}" cy="{y}" r="2.2"><title>{told}</title></circle>')
    return parts + hits


def _unbroken(curve: Sequence[Spot]) -> list[list[Spot]]:
    """Cut the curve into parts at numbers that are not finite."""
    parts: list[list[Spot]] = [[]]
    for spot in curve:
        if svg.drawable(spot.mean):
            parts[-1].append(spot)
        else:
            parts.append([])
    return [part for part in parts if part]


def _place(x: float, y: float, x_axis: svg.Axis, y_axis: svg.Axis) -> str:
    bottom = 10**y_axis.low if y_axis.log else y_axis.low
    return f"{x_axis.at(x):.1f},{y_axis.at(max(y, bottom)):.1f}"
