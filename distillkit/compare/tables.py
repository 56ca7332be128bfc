"""The two tables of a comparison as text: final numbers, and the way there; shared by terminal, page and Markdown."""

from __future__ import annotations

import math

from attrs import frozen

from distillkit.compare.comparison import Comparison, Target
from distillkit.compare.curves import Reached, Spread
from distillkit.compare.direction import higher_is_better
from distillkit.compare.groups import Group
from distillkit.engine import formats

MISSING = "-"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


@frozen
class Cell:
    """Text, and whether it is the best of its column."""

    text: str
    best: bool = False


@frozen
class Table:
    """Rows of cells; the first column names the row."""

    title: str
    head: list[str]
    rows: list[list[Cell]]


def final(c: Comparison) -> Table:
    """Mean and spread of each group, then teacher and floor where they were measured."""
    names, short = c.metrics, [name.rpartition("/")[2] for name in c.metrics]
    heads = [last if short.count(last) == 1 else name for name, last in zip(names, short, strict=True)]
    rows = [[Cell(group.label), *(_final(c, group, name) for name in names)] for group in c.groups]
    for kind, told in (("teacher", "teacher"), ("floor", "floor: real v real")):
        values = [c.reference(kind, name) for name in names]
        if any(value is not None for value in values):
            rows.append([Cell(told), *(Cell(MISSING if v is None else formats.number(v)) for v in values)])
    return Table(
        "final values", ["", *(f"{head} {arrow(name)}".strip() for head, name in zip(heads, names, strict=True))], rows
    )


def _final(c: Comparison, group: Group, metric: str) -> Cell:
    value = c.final(group, metric)
    return Cell(MISSING) if value is None else Cell(spread(value), value.mean == c.best(metric))


def spread(value: Spread) -> str:
    """ "0.1234 +- 0.005", with as many seeds as the table says elsewhere."""
    return formats.number(value.mean) + (f" {PLUS_MINUS} {value.sd:.2g}" if value.sd is not None else "")


def arrow(metric: str) -> str:
    """Which way is better."""
    return {True: "\N{UPWARDS ARROW}", False: "\N{DOWNWARDS ARROW}", None: ""}[higher_is_better(metric)]


def way(c: Comparison, target: Target) -> Table:
    """Images and seconds until the baseline's final value, and their shares of what the baseline needs."""
    base = c.reached(c.baseline, target)
    found = {group.label: c.reached(group, target) for group in c.groups}
    first = min((place.kimg for place in found.values() if place), default=math.nan)
    rows = []
    for group in c.groups:
        place = found[group.label]
        cells = [Cell(group.label), Cell(group.seeds)]
        best = place is not None and place.kimg == first and len(c.groups) > 1
        rows.append([*cells, Cell(_place(place, base, "kimg"), best), Cell(_place(place, base, "seconds")),
                     Cell(formats.rate(c.speed(group)))])  # fmt: skip
    return Table(sentence(c, target), ["", "seeds", "kimg", "seconds", "img/s"], rows)


def sentence(c: Comparison, target: Target) -> str:
    """What is reached, with its number."""
    sign = "\N{GREATER-THAN OR EQUAL TO}" if target.higher else "\N{LESS-THAN OR EQUAL TO}"
    near = f", within {100 * c.within:g} %" if c.within else ""
    value = formats.number(target.value)
    return f"until {target.metric} {sign} {value}: the final value of {c.baseline.label}{near}"


def _place(place: Reached | None, base: Reached | None, axis: str) -> str:
    """ "60.8 (76 %)": images or seconds, and their share of the baseline's."""
    if place is None:
        return "never"
    value, reference = getattr(place, axis), getattr(base, axis) if base else 0.0
    sign = "" if place.exact else "\N{LESS-THAN OR EQUAL TO} "
    return f"{sign}{value:.3g}" + (f" ({100 * value / reference:.0f} %)" if reference else "")


def markdown(c: Comparison) -> str:
    """Both tables as GitHub's Markdown."""
    return "\n\n".join(_markdown(table) for table in (final(c), *(way(c, target) for target in c.targets))) + "\n"


def _markdown(table: Table) -> str:
    lines = ["| " + " | ".join(table.head) + " |", "|" + "---|" + "---:|" * (len(table.head) - 1)]
    for row in table.rows:
        cells = [f"**{cell.text}**" if cell.best else cell.text for cell in row]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return f"{table.title[0].upper()}{table.title[1:]}\n\n" + "\n".join(lines)
