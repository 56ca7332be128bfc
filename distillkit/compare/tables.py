"""The two tables of a comparison: final numbers, and the way there; shared by terminal, page and Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import frozen

from distillkit.compare.comparison import Comparison, Target
from distillkit.compare.curves import Spread
from distillkit.compare.differ import STATED
from distillkit.compare.groups import Group
from distillkit.show import formats

MISSING = "-"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
BOLD = f"Bold is better than every other {STATED}."


@frozen
class Cell:
    """Text, and whether it stands out."""

    text: str
    best: bool = False  # bold
    worse: bool = False  # italic


@frozen
class Table:
    """Rows of cells; the first column names the row."""

    title: str
    head: list[str]
    rows: list[list[Cell]]
    note: str = ""


def final(c: Comparison) -> Table:
    """Make the table of final values: mean and spread of each group, then teacher and floor where measured."""
    short = [name.rpartition("/")[2] for name in c.metrics]
    heads = [last if short.count(last) == 1 else name for name, last in zip(c.metrics, short, strict=True)]
    heads = [f"{head} {arrow(c, name)}".strip() for head, name in zip(heads, c.metrics, strict=True)]
    more = ["seeds", "img/s"] if c.rows else []  # otherwise the way's table has them
    best = {} if c.rows else {name: c.best(name) for name in c.metrics}
    rows = [[Cell(group.label), *(_final(c, group, name, best) for name in c.metrics)] for group in c.groups]
    for row, group in zip(rows, c.groups, strict=True):
        row += [Cell(text) for text in (group.seeds, formats.rate(c.speed(group)))[: len(more)]]
    for kind, told in (("teacher", "teacher"), ("floor", "floor: real v real")):
        values = [c.reference(kind, name) for name in c.metrics]
        if any(value is not None for value in values):
            texts = [MISSING if value is None else formats.number(value) for value in values]
            rows.append([Cell(text) for text in (told, *texts, *([""] * len(more)))])
    note = BOLD if any(cell.best for row in rows for cell in row) else ""
    return Table("final values", ["", *heads, *more], rows, note)


def _final(c: Comparison, group: Group, metric: str, best: Mapping[str, str]) -> Cell:
    value = c.final(group, metric)
    return Cell(MISSING) if value is None else Cell(spread(value), group.label == best.get(metric))


def spread(value: Spread) -> str:
    """Write mean and spread: "0.1234 +- 0.005"; the number of seeds stands elsewhere in the table."""
    return formats.number(value.mean) + (f" {PLUS_MINUS} {value.sd:.2g}" if value.sd is not None else "")


def arrow(c: Comparison, metric: str) -> str:
    """Draw an arrow to where the metric is better; "" where that is unknown."""
    return {True: "\N{UPWARDS ARROW}", False: "\N{DOWNWARDS ARROW}", None: ""}[c.higher(metric)]


def way(c: Comparison, target: Target) -> Table:
    """Make the table of images and seconds until `target`, and their shares of what the baseline needs."""
    rows = []
    for group in c.groups:
        images, seconds = (place(c, group, target, axis) for axis in ("kimg", "seconds"))
        speed = formats.rate(c.speed(group))
        rows.append([Cell(group.label), Cell(group.seeds), Cell(images), Cell(seconds), Cell(speed)])
    return Table(sentence(c, target), ["", "seeds", "kimg", "seconds", "img/s"], rows)


def sentence(c: Comparison, target: Target) -> str:
    """Say what is reached, with its number."""
    near = f", within {100 * c.within:g} %" if c.within else ""
    return f"until {target.metric} {goal(target)}: the final value of {c.baseline.label}{near}"


def goal(target: Target) -> str:
    """Write the value to reach, with the side on which it is reached."""
    sign = "\N{GREATER-THAN OR EQUAL TO}" if target.higher else "\N{LESS-THAN OR EQUAL TO}"
    return f"{sign} {formats.number(target.value)}"


def place(c: Comparison, group: Group, target: Target, axis: str) -> str:
    """Write images or seconds until the target, and their share of what the baseline needs: "60.8 (76 %)"."""
    if not math.isfinite(target.value) or not c.curve(group, target.metric):
        return MISSING
    there, base = c.reached(group, target), c.reached(c.baseline, target)
    if there is None:
        return "never"
    value, reference = getattr(there, axis), getattr(base, axis) if base else 0.0
    sign = "" if there.exact else "\N{LESS-THAN OR EQUAL TO} "
    return f"{sign}{value:.3g}" + (f" ({100 * value / reference:.0f} %)" if reference else "")
