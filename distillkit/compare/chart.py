"""One metric of several groups as inline SVG: mean curves in bands of one standard deviation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from attrs import field, frozen

from distillkit.show import formats, svg

COLOURS = 8  # CSS classes s0 ... s7
LOG_FROM = 6.0  # ratio of values; earlier than in a report, since what matters is how curves differ at their ends


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


def colour(i: int) -> str:
    """CSS class of the i-th group."""
    return f"s{i % COLOURS}"


def draw(chart: Chart) -> str:
    """The chart as an <svg> element."""
    spots = [spot for curve in chart.curves.values() for spot in curve if math.isfinite(spot.mean)]
    references = {name: value for name, value in chart.references.items() if math.isfinite(value)}
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
    """The curve in parts, cut at numbers that are not finite."""
    parts: list[list[Spot]] = [[]]
    for spot in curve:
        if math.isfinite(spot.mean):
            parts[-1].append(spot)
        else:
            parts.append([])
    return [part for part in parts if part]


def _place(x: float, y: float, x_axis: svg.Axis, y_axis: svg.Axis) -> str:
    bottom = 10**y_axis.low if y_axis.log else y_axis.low
    return f"{x_axis.at(x):.1f},{y_axis.at(max(y, bottom)):.1f}"
