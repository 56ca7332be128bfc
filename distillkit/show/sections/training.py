"""What training logs, each curve with a sentence on what it means and how it goes in a healthy run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from html import escape

from distillkit.api.curves import key_of, sentence
from distillkit.show import reference, svg
from distillkit.show.saved import Saved, table
from distillkit.show.sections import curves

FOLDED = ("lr/*", "img_per_sec", "logit/*")  # the schedule, the machine, what accuracies tell in plainer words
MANY = 2  # curves of one kind, beyond which they are details of one that has a name of its own


def training(run: Saved) -> str:
    """A chart for each number of the ticks that moves, losses first; those that nobody reads are folded away."""
    found = curves.by_name(run.rows, "tick")
    moving = [name for name, points in found.items() if len({y for _, y in points}) > 1]
    moving.sort(key=lambda name: not name.startswith("loss/"))
    told = meanings(run)
    folded = [name for name in moving if _folded(name, moving, told)]
    shown = [name for name in moving if name not in folded]
    charts = _charts(run, {name: found[name] for name in shown}, told)
    if not folded:
        return charts
    summary, more = (
        f"more curves: {escape(', '.join(folded))}",
        _charts(run, {name: found[name] for name in folded}, told),
    )
    return f'{charts}\n<details class="more"><summary>{summary}</summary>\n{more}</details>'


def meanings(run: Saved) -> dict[str, str]:
    """What the losses of the run say of their curves, as it noted them."""
    return {name: str(text) for name, text in table(table(run.info, "told"), "curves").items()}


def _folded(name: str, names: Iterable[str], told: Mapping[str, str]) -> bool:
    """Is it a curve that nobody has a word on, or one of FOLDED, or one of MANY of a kind?"""
    if any(fnmatchcase(name, pattern) for pattern in FOLDED):
        return True
    if (key := key_of(name, told)) is None:
        return sentence(name) is None and not name.startswith("loss/")
    return any(sign in key for sign in "*?[") and sum(key_of(other, told) == key for other in names) > MANY


def _charts(run: Saved, found: Mapping[str, list[svg.Point]], told: Mapping[str, str]) -> str:
    shipped, marks = reference.of(run), curves.evaluated(run.rows)
    charts = [
        svg.Chart(title=name, points=points, behind=shipped.behind(name), behind_label=shipped.label, marks=marks,
                  seconds=curves.clock(run.rows, points))
        for name, points in found.items()
    ]  # fmt: skip
    drawn = [f"<div>{svg.draw(chart)}{curves.said(sentence(chart.title, told))}</div>" for chart in charts]
    return f'<div class="charts">{chr(10).join(drawn)}</div>' if drawn else ""
