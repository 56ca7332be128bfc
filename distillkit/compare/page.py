"""compare.html: a comparison on one self-contained page."""

from __future__ import annotations

from html import escape
from importlib import resources
from pathlib import Path

from distillkit.api import UsageError
from distillkit.compare import tables
from distillkit.compare.chart import Chart, Spot, colour, draw
from distillkit.compare.comparison import Comparison, Target
from distillkit.compare.curves import LAST
from distillkit.compare.groups import Group, differences, shown
from distillkit.compare.tables import Table
from distillkit.engine import files, html

FOOTER = "Written by distillkit compare from the folders of the runs."


def write_page(c: Comparison, path: Path, title: str = "Comparison", note: str = "") -> Path:
    """Write the page; parts that the runs do not have are left out."""
    ways = "\n".join(_table(tables.way(c, target), caption=True) for target in c.targets)
    sections = [
        _header(c, title, note),
        html.section("Curves", _legend(c) + _charts(c) if c.targets else ""),
        html.section("Final values", _table(tables.final(c), caption=False) + _bold(c)),
        html.section("The way to the baseline's final value", ways and ways + _definition(c)),
        html.section("Samples from the same noise", _pictures(c)),
        html.section("How the recipes differ", _table(_differences(c), caption=False) if len(c.groups) > 1 else ""),
        html.section("Runs", _table(_runs(c), caption=False)),
    ]
    try:
        files.write_atomic(path, html.page(title, "\n".join(sections), FOOTER, _css()).encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return path


def _css() -> str:
    return resources.files("distillkit.compare").joinpath("compare.css").read_text(encoding="utf-8")


def _header(c: Comparison, title: str, note: str) -> str:
    runs = sum(len(group.runs) for group in c.groups)
    facts = [f"{len(c.groups)} recipes", f"{runs} runs", f"baseline {escape(c.baseline.label)}"]
    facts += [escape(note)] if note else []
    return f'<header><h1>{escape(title)}</h1>\n<p class="sub">{" &middot; ".join(facts)}</p></header>'


def _legend(c: Comparison) -> str:
    entries = [
        f'<span><i class="{colour(i)}"></i>{escape(group.label)} <small>{escape(_seeds(group))}</small></span>'
        for i, group in enumerate(c.groups)
    ]
    return f'<p class="legend">{"".join(entries)}</p>\n'


def _seeds(group: Group) -> str:
    return "1 seed" if group.seeds == "1" else f"{group.seeds} seeds" if group.seeds.isdigit() else group.seeds


def _charts(c: Comparison) -> str:
    drawn = [draw(_chart(c, target, axis)) for target in c.targets for axis in ("kimg", "seconds")]
    charts = "\n".join(f"<div>{chart}</div>" for chart in drawn)
    note = "Lines are means over seeds, bands one standard deviation to each side; seconds are of training alone."
    return f'<div class="charts wide">{charts}</div>\n<p class="sub">{note}</p>'


def _chart(c: Comparison, target: Target, axis: str) -> Chart:
    curves = {
        group.label: [Spot(getattr(p, axis), p.value.mean, p.value.sd or 0.0) for p in c.curve(group, target.metric)]
        for group in c.groups
    }
    references = {"baseline's end": target.final, "teacher": c.reference("teacher", target.metric)}
    known = {name: value for name, value in references.items() if value is not None and value == value}
    title = f"{target.metric} {tables.arrow(target.metric)}"
    return Chart(title=title, curves=curves, x_label=axis, references=known)


def _table(table: Table, caption: bool) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    lines = []
    for row in table.rows:
        cells = [f'<td class="best">{escape(c.text)}</td>' if c.best else f"<td>{escape(c.text)}</td>" for c in row]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    told = f"<caption>{escape(table.title)}</caption>" if caption else ""
    return f'<div class="scroll"><table class="compare">{told}<tr>{head}</tr>\n{chr(10).join(lines)}</table></div>'


def _bold(c: Comparison) -> str:
    spread = any((value := c.final(group, name)) and value.sd for group in c.groups for name in c.metrics)
    note = "Mean \N{PLUS-MINUS SIGN} standard deviation over seeds. " if spread else ""
    return f'<p class="sub">{note}Bold is the best mean, whether or not the difference is larger than the spread.</p>'


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


def _pictures(c: Comparison) -> str:
    """One sheet per group, of a seed that all groups have if there is one."""
    seeds = [{run.seed for run in group.finished if run.picture} for group in c.groups]
    common = set.intersection(*seeds)
    figures = []
    for group in c.groups:
        runs = [run for run in group.finished if run.picture and (run.seed in common or not common)]
        if runs and runs[0].picture:
            figures.append(html.picture(runs[0].picture, f"{group.label}, seed {runs[0].seed}", "half"))
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def _differences(c: Comparison) -> Table:
    found = differences([group.recipe for group in c.groups])
    rows = [[tables.Cell(key), *(tables.Cell(shown(value)) for value in values)] for key, values in found]
    return Table("", ["key", *(group.label for group in c.groups)], rows)


def _runs(c: Comparison) -> Table:
    rows = [
        [tables.Cell(text) for text in (str(run.path), group.label, str(run.seed), run.status)]
        for group in c.groups
        for run in group.runs
    ]
    return Table("", ["run", "group", "seed", "ended"], rows)
