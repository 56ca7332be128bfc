"""report.html: everything about a run on one self-contained page, built from its folder alone.

What stands in a section is in distillkit/show/sections/, one file each.
"""

from __future__ import annotations

from pathlib import Path

from distillkit.disk import files
from distillkit.show import html
from distillkit.show.saved import Saved
from distillkit.show.sections import curves, header, made, pictures, protocol, recipe, result, training, verdict

FOOTER = "Written by distillkit from this run's folder; `distillkit report` writes it again."


def write_report(run_dir: Path, *, title: str | None = None) -> Path:
    """Write `run_dir/report.html` and return its path, see `rendered`."""
    path = run_dir / "report.html"
    files.write_atomic(path, rendered(run_dir, title=title).encode())
    return path


def rendered(run_dir: Path, *, title: str | None = None) -> str:
    """The page of a run, finished or not; warns of parts that it has lost, which are left out.

    Raises InputError for a damaged run.json, exit.json, resolved.toml or result/metrics.json.
    """
    run = Saved.of(run_dir)
    name = title or run.name
    sections = [
        header.header(name, run),
        verdict.of(run),
        html.section("Result", result.table(run) + result.remarks(run)),
        html.section("Protocol", protocol.facts(run)),
        html.section("Pictures", pictures.all_of(run)),
        html.section("Metrics", curves.metrics(run)),
        html.section("Training", training.training(run)),
        html.section("Health", curves.health(run)),
        html.section("Resolved recipe", recipe.text(run)),
        html.section("Made with", made.facts(run)),
    ]
    return html.page(name, "\n".join(sections), FOOTER)
