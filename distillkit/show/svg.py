"""Small line charts as inline SVG: axes, reference lines, bands, names at the ends of curves, hover titles.

Each carries its numbers, from which page.js draws it anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from attrs import field, frozen

from distillkit.show import formats
from distillkit.show.axes import Axis, drawable, short

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 30, 40  # margins around the plot
CHARACTER = 6.2  # pixels of a letter, about
END = 16  # characters of a name at the end of a curve
LINE = 11  # between two of them
SWATCH = 12  # of its line beside each
DOTTED = 40  # points of a curve that are dots, at most
HOVERED = 200  # points of a chart that tell their numbers without a script, at most

Point = tuple[float, float]


@frozen(kw_only=True)
class Series:
    """One of several curves: its spread one deviation to each side; `css` are its classes: a colour, a dash."""

    name: str
    points: Sequence[Point]
    spreads: Sequence[float] = ()
    seconds: Sequence[float] = ()
    css: str = ""


@frozen(kw_only=True)
class Chart:
    """One curve over kimg, or several; with horizontal reference lines by name, and another curve behind it."""

    title: str
    points: Sequence[Point] = ()
    spreads: Sequence[float] = ()  # of each point: a band, one deviation to each side
    seconds: Sequence[float] = ()  # of training, at each point
    series: Sequence[Series] = ()  # in place of `points`: these, named at their ends
    references: dict[str, float] = field(factory=dict)
    marks: Sequence[float] = ()  # where on the x axis something was measured
    behind: Sequence[Point] = ()
    behind_label: str = ""
    x_label: str = "kimg"
    log: bool | None = None  # the y axis; None: where values span more than two decades

    @property
    def curves(self) -> Sequence[Series]:
        """Those drawn in front."""
        own = Series(name=self.title, points=self.points, spreads=self.spreads, seconds=self.seconds)
        return self.series or [own]

    @property
    def right(self) -> float:
        """The end of the plot, left of the names of curves."""
        longest = max((len(shortened(one.name)) for one in self.series), default=0)
        return WIDTH - RIGHT - (CHARACTER * longest + SWATCH if longest else 0)


def draw(chart: Chart) -> str:
    """Draw the chart as an <svg> element; colours come from the CSS classes curve, ref0, bad, grid ..."""
    behind = [(x, y) for x, y in chart.behind if drawable(y)]
    references = {name: y for name, y in chart.references.items() if drawable(y)}
    xs = [x for one in chart.curves for x, _ in one.points] + [x for x, _ in behind]
    x_axis = Axis.across(xs, LEFT, chart.right)
    values = [y for one in chart.curves for _, y in one.points if drawable(y)] + [y for _, y in behind]
    values += references.values()
    y_axis = Axis.up(_with_bands(values, chart), HEIGHT - BOTTOM, TOP, chart.log)
    data = escape(json.dumps(numbers(chart), separators=(",", ":"), allow_nan=False))
    title = escape(chart.title)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" data-chart="{data}">',
        f"<desc>{escape(told(chart))}</desc>",
        f'<text class="title" x="{LEFT}" y="14">{title}</text>',
        *grid(x_axis, y_axis, chart),
        *_behind(behind, chart.behind_label, x_axis, y_axis),
        *reference_lines(references, y_axis, chart.right),
        *(part for one in chart.curves for part in _curve(one, chart, x_axis, y_axis)),
        *_ends(chart, y_axis),
        "</svg>",
    ]
    return "\n".join(parts)


def told(chart: Chart) -> str:
    """What the chart shows in words: where curves begin and end, and the reference lines."""
    parts = []
    for one in chart.curves:
        known = [(x, y) for x, y in one.points if drawable(y)]
        name = f"{one.name}: " if chart.series else ""
        ways = [f"{formats.number(y)} at {formats.number(x)} {chart.x_label}" for x, y in known[:1] + known[1:][-1:]]
        parts += [name + ", ".join(ways)] if ways else []
    return "; ".join([*parts, *(f"{name} {formats.number(y)}" for name, y in chart.references.items())])


def numbers(chart: Chart) -> dict[str, Any]:
    """All that page.js needs to draw it; what is not finite is None."""
    curves = [
        {"name": one.name, "css": one.css, "x": [round(x, 6) for x, _ in one.points],
         "y": [_rounded(y) for _, y in one.points], "sd": [_rounded(sd) for sd in one.spreads],
         "seconds": [_rounded(s) for s in one.seconds]}
        for one in chart.curves
    ]  # fmt: skip
    behind = {
        "name": chart.behind_label,
        "x": [x for x, _ in chart.behind],
        "y": [_rounded(y) for _, y in chart.behind],
    }
    return {"title": chart.title, "unit": chart.x_label, "log": chart.log, "right": round(chart.right, 1),
            "several": bool(chart.series), "curves": curves, "marks": list(chart.marks),
            "references": {name: y for name, y in chart.references.items() if drawable(y)},
            "behind": behind if chart.behind else None}  # fmt: skip


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if drawable(value) else None


def _with_bands(values: list[float], chart: Chart) -> list[float]:
    """Edges of bands as well; one that reaches below zero does not take a logarithmic axis away."""
    edges = [
        y + side * sd
        for one in chart.curves
        for (_, y), sd in zip(one.points, one.spreads, strict=False)
        for side in (-1, 1)
        if sd and drawable(y) and drawable(sd)
    ]
    log = Axis.up(values, 0, 1, chart.log).log
    return values + [edge for edge in edges if not log or edge > min(values) / 2]


def grid(x_axis: Axis, y_axis: Axis, chart: Chart) -> list[str]:
    """Lines across with their values, ticks along the bottom, marks where something was measured."""
    bottom, right = HEIGHT - BOTTOM, chart.right
    parts = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="label" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{short(value)}</text>')
    for value in x_axis.ticks():
        x = x_axis.at(value)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="label" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{short(value)}</text>')
    marked = [x_axis.at(x) for x in chart.marks if x_axis.low <= x <= x_axis.high]
    parts += [f'<path class="mark" d="M{x:.1f} {bottom}l-3 -5h6z"/>' for x in marked]
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right:.1f}" y1="{bottom}" y2="{bottom}"/>')
    if legend_end(chart.references) < WIDTH - RIGHT - 6 * len(chart.x_label):
        text = escape(chart.x_label)
        parts.append(f'<text class="label" text-anchor="end" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}">{text}</text>')
    return parts


def legend_end(references: dict[str, float]) -> float:
    """Where the names of reference lines end, below the plot."""
    return LEFT + sum(34 + CHARACTER * len(f"{name} {formats.number(y)}") for name, y in references.items())


def reference_lines(references: dict[str, float], y_axis: Axis, right: float) -> list[str]:
    """Dashed lines, named below the plot."""
    parts, x = [], LEFT
    for i, (name, value) in enumerate(references.items()):
        y, told, legend = y_axis.at(value), f"{name} {formats.number(value)}", HEIGHT - 9
        line = f'<line class="ref{i}" x1="{LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}">'
        parts.append(f"{line}<title>{escape(told)}</title></line>")
        parts.append(f'<line class="ref{i}" x1="{x}" x2="{x + 18}" y1="{legend}" y2="{legend}"/>')
        parts.append(f'<text class="label" x="{x + 23}" y="{legend + 4}">{escape(told)}</text>')
        x += round(34 + CHARACTER * len(told))
    return parts


def _behind(points: Sequence[Point], label: str, x_axis: Axis, y_axis: Axis) -> list[str]:
    """The curve to compare with, and its name above the plot at the right, where the title ends."""
    if not points:
        return []
    places = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)
    left, y = round(WIDTH - RIGHT - 5.7 * len(label)) - 24, TOP - 7
    return [
        f'<polyline class="behind" points="{places}"><title>{escape(label)}</title></polyline>',
        f'<line class="behind" x1="{left}" x2="{left + 18}" y1="{y}" y2="{y}"/>',
        f'<text class="behind" text-anchor="end" x="{WIDTH - RIGHT}" y="{TOP - 3}">{escape(label)}</text>',
    ]


def _curve(one: Series, chart: Chart, x_axis: Axis, y_axis: Axis) -> Iterator[str]:
    """Its band, its line in pieces between numbers that are not finite, and what each point tells."""
    css = f" {one.css}" if one.css else ""
    spreads = [*one.spreads, *([0.0] * len(one.points))][: len(one.points)]
    every = math.ceil(sum(len(each.points) for each in chart.curves) / HOVERED)
    piece: list[tuple[float, float, float]] = []
    pieces, hits = [piece], []
    for i, ((x, y), sd) in enumerate(zip(one.points, spreads, strict=True)):
        px = x_axis.at(x)
        if drawable(y):
            piece.append((px, y, sd))
            if i % every == 0 or i == len(one.points) - 1:
                title = _title(one, chart, i, sd)
                hits.append(f'<circle class="hit{css}" cx="{px:.1f}" cy="{y_axis.at(y):.1f}" r="6">{title}</circle>')
        else:
            piece = []
            pieces.append(piece)
            hits.append(f'<path class="bad" d="M{px - 4:.1f} {TOP}l8 8m0 -8l-8 8">{_title(one, chart, i, sd)}</path>')
    for piece in filter(None, pieces):
        if any(sd for *_, sd in piece):
            around = [(x, y_axis.at(y + sd)) for x, y, sd in piece]
            around += [(x, y_axis.at(y - sd)) for x, y, sd in reversed(piece)]
            yield f'<polygon class="band{css}" points="{_joined(around)}"/>'
        places = [(x, y_axis.at(y)) for x, y, _ in piece]
        if len(piece) > 1:
            yield f'<polyline class="curve{css}" points="{_joined(places)}"/>'
        for px, py in places if len(one.points) <= DOTTED else places[-1:]:
            yield f'<circle class="dot{css}" cx="{px:.1f}" cy="{py:.1f}" r="{3 if px == places[-1][0] else 2}"/>'
    yield from hits


def _title(one: Series, chart: Chart, i: int, sd: float) -> str:
    """What a point tells on hover."""
    (x, y), name = one.points[i], f"{one.name}, " if chart.series else ""
    spread = f" \N{PLUS-MINUS SIGN} {sd:.2g}" if sd else ""
    told = f"{name}{formats.number(x)} {chart.x_label}: {formats.number(y)}{spread}"
    return f"<title>{escape(told)}</title>"


def _joined(places: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _ends(chart: Chart, y_axis: Axis) -> Iterator[str]:
    """Names at the ends of several curves, apart from each other."""
    ends = [(y_axis.at(known[-1]), one) for one in chart.series if (known := [y for _, y in one.points if drawable(y)])]
    ends.sort(key=lambda end: end[0])
    for (_, one), y in zip(ends, spread([y for y, _ in ends]), strict=True):
        x = chart.right + 7
        yield f'<line class="curve {one.css}" x1="{x:.1f}" x2="{x + SWATCH:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="end" x="{x + SWATCH + 4:.1f}" y="{y + 3.5:.1f}">{escape(shortened(one.name))}</text>'


def spread(places: Sequence[float]) -> list[float]:
    """Move rising places apart, up and down, as little as it takes and within the plot while it is large enough."""
    found = list(places)
    for _ in range(2 * len(found)):
        for i in range(len(found) - 1):
            if found[i + 1] - found[i] < LINE:
                middle = (found[i] + found[i + 1]) / 2
                found[i], found[i + 1] = middle - LINE / 2, middle + LINE / 2
    for i in range(len(found)):
        found[i] = max(found[i], found[i - 1] + LINE if i else TOP)
    for i in reversed(range(len(found))):
        found[i] = min(found[i], found[i + 1] - LINE if i + 1 < len(found) else HEIGHT - BOTTOM)
    return found


def shortened(name: str) -> str:
    """A name that fits at the end of a curve; its own end is what tells it from others."""
    return name if len(name) <= END else f"{name[:5]}\N{HORIZONTAL ELLIPSIS}{name[6 - END :]}"
