"""compare.html: a comparison on one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from distillkit.api import UsageError
from distillkit.compare import charts, markup, matrix, tables
from distillkit.compare.comparison import Comparison
from distillkit.compare.curves import LAST
from distillkit.compare.groups import differences, shown
from distillkit.compare.tables import Cell, Table
from distillkit.disk import files
from distillkit.show import html

FOOTER = "Written by distillkit compare from the folders of the runs."


def write_page(
    c: Comparison, path: Path, title: str = "Comparison", note: str = "", setup: Table | None = None
) -> Path:
    """Write the page; parts that the runs do not have are left out. `setup` says how recipes differ, if one knows."""
    differ, css = setup or (_differences(c) if len(c.groups) > 1 else None), "facts" if setup else "compare words"
    body = [
        _header(c, title, note),
        "<main>",
        *(_rows(c) if c.rows else _plain(c)),
        html.section("How the recipes differ", markup.table(differ, css=css) if differ else ""),
        html.section("Runs", markup.table(_runs(c), css="compare words")),
        "</main>",
    ]
    try:
        files.write_atomic(path, html.page(title, "\n".join(body), FOOTER, _css()).encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path


def _plain(c: Comparison) -> list[str]:
    """Make the sections of groups that are compared with one baseline."""
    return [
        html.section("Curves", charts.legend(c) + charts.charts(c) if c.targets else ""),
        html.section("Final values", markup.table(tables.final(c)) + _bold(c)),
        html.section("The way to the baseline's final value", _ways(c)),
        html.section("Samples from the same noise", charts.pictures(c)),
    ]


def _rows(c: Comparison) -> list[str]:
    """Make the sections of rows, each compared with its first cell, and of the groups outside rows."""
    beside = charts.legend(c.rest) + charts.charts(c.rest) + _ways(c.rest) if c.rest and c.targets else ""
    pictures = [charts.pictures(row, "part", name) for name, row in c.rows.items()]
    pictures += [charts.pictures(c.rest, "part")] if c.rest else []
    return [
        html.section("Final values", _noted(matrix.finals(c, c.metrics))),
        html.section(f"The way to the final value of {matrix.first(c)!r}", _noted(matrix.ways(c))),
        html.section("Curves", charts.multiples(c) if c.targets else ""),
        html.section(f"Others, against {c.baseline.label}", beside),
        html.section("All final values", markup.table(tables.final(c))),
        html.section("Samples from the same noise", "".join(pictures)),
    ]


def _noted(made: Sequence[Table]) -> str:
    """Put tables beside each other, and the note of the first below them."""
    if not made:
        return ""
    shown = "\n".join(markup.table(table, caption=True) for table in made)
    return f'<div class="tables">{shown}</div>\n<p class="sub">{escape(made[0].note)}</p>'


def _ways(c: Comparison) -> str:
    ways = "\n".join(markup.table(tables.way(c, target), caption=True) for target in c.targets)
    return ways and ways + _definition(c)


def _css() -> str:
    return resources.files("distillkit.compare").joinpath("compare.css").read_text(encoding="utf-8")


def _header(c: Comparison, title: str, note: str) -> str:
    against = f"each row against {matrix.first(c)!r}" if c.rows else f"baseline {c.baseline.label}"
    runs = sum(len(group.runs) for group in c.groups)
    facts = [f"{len(c.groups)} recipes", f"{runs} runs", escape(against)]
    facts += [escape(note)] if note else []
    return f'<header><h1>{escape(title)}</h1>\n<p class="sub">{" &middot; ".join(facts)}</p></header>'


def _bold(c: Comparison) -> str:
    spread = any((value := c.final(group, name)) and value.sd for group in c.groups for name in c.metrics)
    note = "Mean \N{PLUS-MINUS SIGN} standard deviation over seeds. " if spread else ""
    return f'<p class="sub">{note}{tables.BOLD}</p>'


def _definition(c: Comparison) -> str:
    near = f", made worse by {100 * c.within:g} % of its size" if c.within else ""
    text = (
        f"The value to reach is the mean of the last {LAST} evaluations of the baseline's mean curve{near}. A group "
        "reaches it where its own mean curve, a straight line between evaluations, first is at least as "
        "good. In brackets: its share of what the baseline needs. "
        "\N{LESS-THAN OR EQUAL TO} says that its first evaluation already was. Only finished runs count; images and "
        "seconds are those of the run alone, without the runs it starts from."
    )
    return f'<p class="sub">{text}</p>'


def _differences(c: Comparison) -> Table:
    found = differences([group.recipe for group in c.groups])
    rows = [[Cell(key), *(Cell(shown(value)) for value in values)] for key, values in found]
    return Table("", ["key", *(group.label for group in c.groups)], rows)


def _runs(c: Comparison) -> Table:
    rows = [
        [Cell(text) for text in (str(run.path), group.label, str(run.seed), run.status)]
        for group in c.groups
        for run in group.runs
    ]
    return Table("", ["run", "group", "seed", "ended"], rows)
