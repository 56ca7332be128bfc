"""What a study leaves: study.json for programs, compare.html for people, Markdown for a repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from distillkit.api import UsageError
from distillkit.compare import Comparison, Run, compare, tables, write_page
from distillkit.engine import files
from distillkit.study.jobs import Job
from distillkit.study.plan import Study
from distillkit.study.work import Progress


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
    try:
        comparison = _compare(study, [one.job for one in done], runs)
        write_page(comparison, out / "compare.html", title=study.name, note=note)
    except UsageError as error:
        why_not = str(error)
    files.write_json(out / "study.json", _facts(study, done, runs, comparison))
    return Results(comparison, why_not, out / "compare.html", out / "study.json")


def _compare(study: Study, jobs: Sequence[Job], runs: Path) -> Comparison:
    """The cells by their labels, in the order of the study."""
    read: list[Run] = []
    labels: dict[Path, str] = {}
    for job in jobs:
        folder = job.find(runs) if job.cell else None
        if folder is not None:
            labels[folder.path] = job.cell[0]
            read.append(Run.read(folder.path))
    order = [cell.label for cell in study.cell]
    read.sort(key=lambda run: order.index(labels[run.path]))
    if not read:
        raise UsageError("no run of this study exists yet")
    base = study.baseline or study.cell[0].label
    return compare(read, baseline=base, metrics=study.metrics, within=study.within, labels=labels)


def _facts(study: Study, done: Sequence[Progress], runs: Path, c: Comparison | None) -> dict[str, Any]:
    cells = [
        {"label": cell.label, "recipe": cell.recipe, "set": [*study.set, *cell.set],
         "runs": [_run(one, runs) for one in done if one.job.cell and one.job.cell[0] == cell.label]}
        for cell in study.cell
    ]  # fmt: skip
    return {"schema": 1, "name": study.name, "seeds": list(study.seeds), "cells": cells, "comparison": _numbers(c)}


def _run(one: Progress, runs: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "seed": one.job.cell and one.job.cell[1],
        "state": one.state,
        "fingerprint": one.job.fingerprint,
    }
    folder = one.job.find(runs)
    if folder is not None:
        run = Run.read(folder.path)
        facts |= {"run": str(folder.path), "nimg": run.nimg, "seconds": run.seconds, "versions": run.versions}
        facts |= {"metrics": run.scores.student, "teacher": run.scores.teacher}
    return facts | ({"reason": one.reason} if one.reason else {})


def _numbers(c: Comparison | None) -> dict[str, Any] | None:
    if c is None:
        return None
    groups = []
    for group in c.groups:
        spreads = {name: c.final(group, name) for name in c.metrics}
        final = {name: {"mean": s.mean, "sd": s.sd, "n": s.n} for name, s in spreads.items() if s is not None}
        places = {target.metric: c.reached(group, target) for target in c.targets}
        reached = {name: p and {"kimg": p.kimg, "seconds": p.seconds, "exact": p.exact} for name, p in places.items()}
        groups.append({"label": group.label, "seeds": group.seeds, "final": final, "reached": reached,
                       "img_per_sec": c.speed(group)})  # fmt: skip
    targets = {target.metric: {"final": target.final, "reach": target.value} for target in c.targets}
    return {"baseline": c.baseline.label, "within": c.within, "targets": targets, "groups": groups}


def write_markdown(study: Study, results: Results, path: Path, note: str = "") -> None:
    """The tables for a repository; raises UsageError where there is no comparison or no such folder."""
    if results.comparison is None:
        raise UsageError(f"nothing to write to {path}: {results.why_not}")
    seeds = ", ".join(map(str, study.seeds))
    text = f"# {study.name}\n\nSeeds {seeds}. {note}\n\n{tables.markdown(results.comparison)}".replace(". \n", ".\n")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
