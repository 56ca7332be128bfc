"""Small line charts as inline SVG: axes, ticks, reference lines, a legend, hover titles; no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from attrs import field, frozen

from distillkit.show import formats

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 30, 40  # margins around the plot
LOG_FROM = 30.0  # ratio of largest to smallest value from which the y axis is logarithmic

FAR = 1e100

Point = tuple[float, float]


@frozen(kw_only=True)
class Chart:
    """One curve over kimg, with horizontal reference lines by name, and another curve behind it to compare with."""

    title: str
    points: Sequence[Point]
    references: dict[str, float] = field(factory=dict)
    behind: Sequence[Point] = ()
    behind_label: str = ""
    x_label: str = "kimg"


def draw(chart: Chart) -> str:
    """Draw the chart as an <svg> element; colours come from the CSS classes curve, ref0, bad, grid ..."""
    finite = [(x, y) for x, y in chart.points if drawable(y)]
    behind = [(x, y) for x, y in chart.behind if drawable(y)]
    references = {name: y for name, y in chart.references.items() if drawable(y)}
    x_axis = Axis.over([x for x, _ in (*chart.points, *behind)], LEFT, WIDTH - RIGHT)
    values = [y for _, y in (*finite, *behind)] + list(references.values())
    y_axis = Axis.over(values, HEIGHT - BOTTOM, TOP, pad=True, log_from=LOG_FROM)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}">',
        f'<text class="title" x="{LEFT}" y="14">{escape(chart.title)}</text>',
        *grid(x_axis, y_axis, chart.x_label),
        *_behind(behind, chart.behind_label, x_axis, y_axis),
        *reference_lines(references, y_axis),
        *_curve(chart, x_axis, y_axis),
        "</svg>",
    ]
    return "\n".join(parts)


def drawable(value: float) -> bool:
    """Whether an axis can show the value; beyond are numbers that are not finite, or will not be for long."""
    return abs(value) < FAR


@frozen
class Axis:
    """Value range low ... high shown at pixels start ... stop."""

    low: float
    high: float
    start: float
    stop: float
    log: bool

    @classmethod
    def over(
        cls, values: Sequence[float], start: float, stop: float, *, pad: bool = False, log_from: float = math.inf
    ) -> Axis:
        """Make an axis for all values, logarithmic where the largest is at least `log_from` times the smallest."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        log = low > 1 / FAR and high / low >= log_from
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low <= max(1e-9 * max(abs(low), abs(high)), 1 / FAR):
            margin = 0.5 * abs(low) if abs(low) > 1 / FAR else 0.5
        else:
            margin = 0.06 * (high - low) if pad else 0.0
        return cls(low - margin, high + margin, start, stop, log)

    def at(self, value: float) -> float:
        value = math.log10(value) if self.log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        if not self.log:
            return ticks(self.low, self.high)
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        digits = (1, 2, 5) if self.high - self.low < 2.2 else (1,)
        values = [digit * 10.0**decade for decade in decades for digit in digits]
        shown = [value for value in values if self.low <= math.log10(value) <= self.high]
        return shown[:: math.ceil(len(shown) / 6) or 1]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Choose round values within low ... high, 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12 - math.floor(math.log10(step))) for i in range(first, last + 1)]


def grid(x_axis: Axis, y_axis: Axis, x_label: str) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="label" text-anchor="end" x="{LEFT - 6}" y="{y + 4:.1f}">{_short(value)}</text>')
    for value in x_axis.ticks():
        x = x_axis.at(value)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="label" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">{_short(value)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text class="label" text-anchor="end" x="{right}" y="{HEIGHT - 5}">{escape(x_label)}</text>')
    return parts


def reference_lines(references: dict[str, float], y_axis: Axis) -> list[str]:
    parts, x = [], LEFT
    for i, (name, value) in enumerate(references.items()):
        y, told, legend = y_axis.at(value), f"{escape(name)} {formats.number(value)}", HEIGHT - 9
        line = f'<line class="ref{i}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}">'
        parts.append(f"{line}<title>{told}</title></line>")
        parts.append(f'<line class="ref{i}" x1="{x}" x2="{x + 18}" y1="{legend}" y2="{legend}"/>')
        parts.append(f'<text class="label" x="{x + 23}" y="{legend + 4}">{told}</text>')
        x += round(34 + 5.6 * len(told))
    return parts


def _behind(points: Sequence[Point], label: str, x_axis: Axis, y_axis: Axis) -> list[str]:
    """The curve to compare with, and its name above the plot at the right, where the title ends."""
    if not points:
        return []
    places = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)
    left, y = round(WIDTH - RIGHT - 5.6 * len(label)) - 24, TOP - 7
    return [
        f'<polyline class="behind" points="{places}"><title>{escape(label)}</title></polyline>',
        f'<line class="behind" x1="{left}" x2="{left + 18}" y1="{y}" y2="{y}"/>',
        f'<text class="behind" text-anchor="end" x="{WIDTH - RIGHT}" y="{TOP - 3}">{escape(label)}</text>',
    ]


def _curve(chart: Chart, x_axis: Axis, y_axis: Axis) -> list[str]:
    runs: list[list[str]] = [[]]
    dots = []
    for x, y in chart.points:
        px, told = x_axis.at(x), f"<title>{formats.number(x)} {escape(chart.x_label)}: {formats.number(y)}</title>"
        if drawable(y):
            py = y_axis.at(y)
            runs[-1].append(f"{px:.1f},{py:.1f}")
            dots.append(f'<circle class="hit" cx="{px:.1f}" cy="{py:.1f}" r="6">{told}</circle>')
        else:
            runs.append([])
            dots.append(f'<path class="bad" d="M{px - 4:.1f} {TOP}l8 8m0 -8l-8 8">{told}</path>')
    lines = [f'<polyline class="curve" points="{" ".join(run)}"/>' for run in runs if len(run) > 1]
    marks = [_mark(run[-1]) for run in runs if run]
    return lines + marks + dots


def _mark(place: str) -> str:
    x, y = place.split(",")
    return f'<circle class="mark" cx="{x}" cy="{y}" r="3"/>'


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"
