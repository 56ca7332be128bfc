"""report.html: everything about a run on one self-contained page, built from its folder alone.

What stands in a section is in distillkit/show/sections/, one file each.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from distillkit.disk import files
from distillkit.show import html
from distillkit.show.saved import Saved
from distillkit.show.sections import (
    curves,
    glossary,
    header,
    health,
    made,
    onward,
    pictures,
    protocol,
    recipe,
    result,
    training,
    triptych,
    verdict,
)

FOOTER = "Written by distillkit from this run's folder; `distillkit report` writes it again."


def write_report(run_dir: Path, *, title: str | None = None) -> Path:
    """Write `run_dir/report.html` and return its path, see `rendered`."""
    path = run_dir / "report.html"
    files.write_atomic(path, rendered(run_dir, title=title).encode())
    return path


def rendered(run_dir: Path, *, title: str | None = None) -> str:
    """The page of a run, finished or not; warns of parts that it has lost, which are left out.

    Raises InputError for a damaged run.json, exit.json or result/metrics.json.
    """
    run = Saved.of(run_dir)
    name = title or run.name
    sections = {
        "Result": result.table(run) + result.remarks(run),
        "Pictures": pictures.all_of(run),
        "What next": onward.commands(run),
        "Teacher and fake score": triptych.sheets(run),
        "Metrics": curves.metrics(run),
        "Training": training.training(run),
        "Health": health.charts(run),
        glossary.TITLE: glossary.words(run),
        "Protocol": protocol.facts(run),
        "Made with": made.facts(run),
        "Resolved recipe": recipe.text(run),
    }
    shown = {title: body for title, body in sections.items() if body}
    parts = "\n".join(html.section(title, body) for title, body in shown.items())
    body = f"{header.header(name, run)}\n{html.nav(shown)}\n<main>\n{verdict.of(run)}\n{parts}\n</main>"
    css = resources.files("distillkit.show").joinpath("report.css").read_text(encoding="utf-8")
    return html.page(name, body, FOOTER, css)
