"""What a study leaves: study.json for programs, compare.html for people, Markdown for a repository."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from distillkit.api import UsageError
from distillkit.api.errors import FULL
from distillkit.compare import Comparison, Group, Run, compare, compare_rows, markdown, tables, write_page
from distillkit.disk import files
from distillkit.study.jobs import Job
from distillkit.study.plan import Cell, Option, Study
from distillkit.study.work import Progress
from distillkit.study.work import found as runs_of


@frozen
class Results:
    """The comparison, None where no baseline run is finished, and where all is written."""

    comparison: Comparison | None
    why_not: str
    page: Path
    json: Path


def write_results(study: Study, done: Sequence[Progress], runs: Path, out: Path, note: str = "") -> Results:
    """Write study.json always, and the page if there is something to compare."""
    comparison, why_not = None, ""
    known = runs_of([one.job for one in done], runs)
    found = {fingerprint: Run.read(run.path) for fingerprint, run in known.items()}
    if any(one.job.collapsed for one in done):
        found = {name: evolve(run, taken=run.status == "collapsed") for name, run in found.items()}
    try:
        comparison = _compare(study, [one.job for one in done], found)
        write_page(comparison, out / "compare.html", title=study.name, note=note, setup=_setup(study))
    except UsageError as error:
        why_not = str(error)
    cells = [_cell(study, cell, done, found) for cell in study.cell]
    facts = {"schema": 1, "name": study.name, "seeds": list(study.seeds), "cells": cells}
    files.write_json(out / "study.json", {**facts, "comparison": _numbers(comparison)})
    return Results(comparison, why_not, out / "compare.html", out / "study.json")


def _compare(study: Study, jobs: Sequence[Job], found: Mapping[str, Run]) -> Comparison:
    """Compare the cells by their labels, in the order of the study."""
    order = [cell.label for cell in study.cell]
    ours = [(order.index(job.cell[0]), found[job.fingerprint]) for job in jobs if job.cell and job.fingerprint in found]
    ours.sort(key=itemgetter(0))
    if not ours:
        raise UsageError("no run of this study exists yet")
    read = [run for _, run in ours]
    labels = {run.path: order[at] for at, run in ours}
    base, metrics, within = study.baseline or order[0], study.metrics, study.within
    if study.vary:
        return compare_rows(read, labels, study.rows(), baseline=base, metrics=metrics, within=within)
    return compare(read, labels=labels, baseline=base, metrics=metrics, within=within)


def _setup(study: Study) -> tables.Table | None:
    """List the options of the axes and the cells beside them, as the study has them; None without axes."""
    inside = {label for row in study.rows().values() for label in row.values()}
    named: list[tuple[str, Option | Cell]] = [
        *((axis, option) for axis, options in study.vary.items() for option in options),
        *(("cell", cell) for cell in study.cell if cell.label not in inside),
    ]
    rows = [(axis, one.label, one.recipe or "", "  ".join(one.set)) for axis, one in named]
    made = [[tables.Cell(text) for text in row] for row in (("", "all", "", "  ".join(study.set)), *rows)]
    return tables.Table("", ["axis", "option", "recipe", "settings"], made) if study.vary else None


def _cell(study: Study, cell: Cell, done: Sequence[Progress], found: Mapping[str, Run]) -> dict[str, Any]:
    runs = [_run(one, found.get(one.job.fingerprint)) for one in done if one.job.cell and one.job.cell[0] == cell.label]
    return {"label": cell.label, "recipe": cell.recipe, "set": [*study.set, *cell.set], "runs": runs}


def _run(one: Progress, run: Run | None) -> dict[str, Any]:
    """Say what became of one run; its folder is named as it lies below --runs."""
    job = one.job
    facts: dict[str, Any] = {"seed": job.cell and job.cell[1], "state": one.state, "fingerprint": job.fingerprint}
    if run is not None:
        facts |= {"run": run.path.name, "nimg": run.nimg, "seconds": run.seconds, "versions": run.versions}
        facts |= {"metrics": run.scores.student, "teacher": run.scores.teacher}
    return facts | ({"reason": one.reason} if one.reason else {})


def _numbers(c: Comparison | None) -> dict[str, Any] | None:
    """Write the numbers of all groups against one baseline, or of each row against its own."""
    if c is None:
        return None
    if c.rows:
        return {"rows": {name: _numbers(row) for name, row in c.rows.items()}, "others": _numbers(c.rest)}
    targets = {t.metric: {"final": _known(t.final), "reach": _known(t.value)} for t in c.targets}
    groups = [_group(c, group) for group in c.groups]
    return {"baseline": c.baseline.label, "within": c.within, "targets": targets, "groups": groups}


def _group(c: Comparison, group: Group) -> dict[str, Any]:
    spreads = {name: c.final(group, name) for name in c.metrics}
    final = {name: {"mean": s.mean, "sd": s.sd, "n": s.n} for name, s in spreads.items() if s is not None}
    places = {target.metric: c.reached(group, target) for target in c.targets}
    reached = {name: p and {"kimg": p.kimg, "seconds": p.seconds, "exact": p.exact} for name, p in places.items()}
    return {"label": group.label, "seeds": group.seeds, "final": final, "reached": reached,
            "img_per_sec": _known(c.speed(group))}  # fmt: skip


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_markdown(study: Study, results: Results, path: Path, note: str = "") -> None:
    """Write the tables for a repository; raises UsageError where there is no comparison or no such folder."""
    if results.comparison is None:
        raise UsageError(f"nothing to write to {path}: {results.why_not}")
    seeds = ", ".join(map(str, study.seeds))
    facts = f"Seeds {seeds}. {note}." if note else f"Seeds {seeds}."
    write_text(path, f"# {study.name}\n\n{facts}\n\n{markdown(results.comparison)}")


def write_text(path: Path, text: str) -> None:
    """Write a page. Raises UsageError where there is no such folder."""
    try:
        files.write_atomic(path, text.encode())
    except OSError as error:
        if error.errno in FULL:
            raise
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
