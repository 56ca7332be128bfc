"""Curves of metrics over images seen, against their references; and what other sections of curves need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from typing import Any

from distillkit.show import reference, svg
from distillkit.show.saved import Saved

FAR = 10.0
NOT_CURVES = {"what", "nimg", "kimg", "seconds"}


def metrics(run: Saved) -> str:
    """A chart for each metric that was measured twice, with teacher and floor or ceiling, and what it means."""
    known = {row.name: row for row in run.scores.rows()}
    shipped = reference.of(run)
    charts = []
    found = by_name(run.rows, "evaluate")
    for name, measured in found.items():
        points = [*([(0.0, run.start[name])] if name in run.start else []), *measured]
        if name not in known or len(points) < 2:  # floors and spreads are reference lines; one point is no curve
            continue
        real = "ceiling" if run.way(name) == "higher" else "floor"
        lines = {"teacher": known[name].teacher, real: known[name].floor}
        references = {label: value for label, value in lines.items() if value is not None}
        sd = dict(found.get(f"{name}_sd", []))
        charts.append(svg.Chart(title=name, points=points, references=references, behind=shipped.behind(name),
                                behind_label=shipped.label, seconds=clock(run.rows, points),
                                log=_far(points) if name in run.start else None,
                                spreads=[sd.get(x, 0.0) for x, _ in points] if sd else ()))  # fmt: skip
    told = '<p class="note">The point at 0 kimg is the untouched teacher, sampled as the student.</p>'
    return drawn(charts, run.meaning) + (told if any(chart.title in run.start for chart in charts) else "")


def _far(points: list[svg.Point]) -> bool | None:
    """True where the point before training is so far from the others that they would be a line at the bottom."""
    values = [y for _, y in points]
    return True if min(values) > 0 and values[0] > FAR * min(values) else None


def clock(rows: list[dict[str, Any]], points: list[svg.Point]) -> list[float]:
    """Seconds of training at each point; [] where one is not known."""
    known = {0.0: 0.0}
    known |= {row["nimg"] / 1000: row["seconds"] for row in rows if isinstance(row.get("seconds"), int | float)}
    found = [known.get(x) for x, _ in points]
    return [] if None in found else [float(seconds) for seconds in found if seconds is not None]


def evaluated(rows: list[dict[str, Any]]) -> list[float]:
    """Where the run was evaluated, in kimg."""
    return sorted({row["nimg"] / 1000 for row in rows if row["what"] == "evaluate"})


def drawn(charts: Iterable[svg.Chart], meaning: Callable[[str], str]) -> str:
    """The charts, a sentence under each that has one."""
    found = "\n".join(f"<div>{svg.draw(chart)}{said(meaning(chart.title))}</div>" for chart in charts)
    return f'<div class="charts">{found}</div>' if found else ""


def said(text: str | None) -> str:
    """A sentence under a chart; nothing where there is none."""
    return f'<p class="meaning">{escape(text)}</p>' if text else ""


def by_name(rows: list[dict[str, Any]], what: str) -> dict[str, list[svg.Point]]:
    """Collect points (kimg, value) by name, from the rows of one kind: "tick" or "evaluate"."""
    curves: dict[str, list[svg.Point]] = {}
    for row in rows:
        for name, value in row.items() if row["what"] == what else ():
            if name not in NOT_CURVES and isinstance(value, int | float):
                curves.setdefault(name, []).append((row["nimg"] / 1000, float(value)))
    return curves
