"""Writes benchmarks/results/methods.md: every method on digits at equal images and at equal seconds.

    distillkit study benchmarks/methods.toml --jobs 2 --runs runs
    python benchmarks/methods.py runs                               to be called where the study was

Rows are the cells of the study, each by its recipe as it is, over all its seeds. Numbers at a budget are those of the
last evaluation within it; seconds are of training, one thread, of this study; F is a forward pass of the student.
"""

from __future__ import annotations

import inspect
import json
import statistics
import sys
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distillkit.disk.metrics import MetricsLog
from distillkit.python.calls import plan
from distillkit.recipe import read as read_recipe

HERE = Path(__file__).parent
KIMG, SECONDS = 16.0, 60.0  # the two budgets
SHOWN = ("fd", "sfd", "recall", "coverage", "fd_test", "sfd_test")
HEAD = ("FD", "sFD", "recall", "coverage", "FD held out", "sFD held out")


class Row(NamedTuple):
    """One cell of the study: the evaluations of each seed, by what its recipe says."""

    label: str
    evaluations: list[list[dict[str, Any]]]
    cost: dict[str, float]
    lines: int


def main(runs: str = "runs") -> None:
    study = tomllib.loads((HERE / "methods.toml").read_text())
    found = json.loads((Path(runs) / f"study-{study['name']}" / "study.json").read_text())
    rows = [row for cell in found["cells"] if (row := read(cell, Path(runs))).evaluations]
    results = HERE / "results"
    (results / "methods.json").write_text(json.dumps({"cells": [row._asdict() for row in rows]}, indent=1) + "\n")
    (results / "methods.md").write_text(page(rows, teacher(found), found["seeds"]))


def read(cell: dict[str, Any], runs: Path) -> Row:
    """What the runs of a cell measured, and what its recipe costs."""
    path = (HERE / cell["recipe"]).resolve()
    done = [runs / run["run"] for run in cell["runs"] if "run" in run]
    method = read_recipe(path).generator_loss
    return Row(cell["label"], [measured(run) for run in done], cost(path, runs), lines(method.cls))


def measured(run: Path) -> list[dict[str, Any]]:
    """The evaluations of a run: kimg, seconds of training until then, and what was measured."""
    rows = MetricsLog(run / "metrics.jsonl").read()
    clock = {row["nimg"]: row["seconds"] for row in rows if "seconds" in row}
    return [
        {"kimg": row["nimg"] / 1000, "seconds": clock.get(row["nimg"]),
         **{name: row[f"frechet/{name}"] for name in SHOWN if f"frechet/{name}" in row}}
        for row in rows if row["what"] == "evaluate"
    ]  # fmt: skip


def cost(recipe: Path, runs: Path) -> dict[str, float]:
    """Of an iteration: passes of the student for each image, and the peak of memory in MB."""
    stage = plan(str(recipe), runs=runs)[-1]
    cost = stage.counted
    return {"F": cost.flops / cost.batch / stage.forward, "MB": cost.largest.peak / 1e6}


def lines(cls: type) -> int:
    """Of the file that the method is."""
    return len(Path(inspect.getfile(cls)).read_text().splitlines())


def teacher(found: dict[str, Any]) -> dict[str, list[float]]:
    """What the teachers of the runs measured, by metric, one for each seed."""
    runs = [run for run in found["cells"][0]["runs"] if run.get("teacher")]
    return {name: [run["teacher"][f"frechet/{name}"] for run in runs] for name in SHOWN}


def page(rows: Sequence[Row], teacher: dict[str, list[float]], seeds: Sequence[int]) -> str:
    """The page: at equal images, at equal seconds, at the end, and what each costs."""
    told = " ".join(map(str, seeds))
    parts = [
        "# Every method on digits\n\n"
        f"Conditional 8x8 digits, the shipped recipes as they are, seeds {told} of student and teacher, mean and "
        "spread over seeds, one thread each. Made by `distillkit study benchmarks/methods.toml` and "
        "`python benchmarks/methods.py`; every number is in methods.json.",
        section(f"At {KIMG:g} thousand images", rows, teacher, lambda one: one["kimg"] <= KIMG + 0.1),
        section(f"After {SECONDS:g} seconds of training", rows, teacher, lambda one: within(one, SECONDS)),
        section("At the end of each recipe", rows, teacher, lambda one: True),
        "## What an image costs\n\n" + table(("recipe", "F", "MB", "images/s", "lines"), map(costs, rows)),
    ]
    return "\n\n".join(parts) + "\n"


def within(one: dict[str, Any], seconds: float) -> bool:
    return one["seconds"] is not None and one["seconds"] <= seconds


def section(title: str, rows: Sequence[Row], teacher: dict[str, list[float]], fits: Any) -> str:
    """A table of the last evaluation of each run that fits a budget; a method without any is left out, and said."""
    last = {row.label: [found[-1] for one in row.evaluations if (found := [*filter(fits, one)])] for row in rows}
    made = [(label, spread([one["kimg"] for one in found], "{:.3g}"),
             *(spread([one[name] for one in found if name in one]) for name in SHOWN))
            for label, found in last.items() if found]  # fmt: skip
    none = [label for label, found in last.items() if not found]
    made.append(("teacher, 35 calls", "-", *(spread(teacher[name]) for name in SHOWN)))
    text = f"## {title}\n\n" + table(("recipe", "kimg", *HEAD), made)
    return text + (f"\n\nNothing measured by then: {', '.join(none)}." if none else "")


def costs(row: Row) -> tuple[str, ...]:
    ends = [one[-1] for one in row.evaluations if one and one[-1]["seconds"]]
    speed = [1000 * one["kimg"] / one["seconds"] for one in ends]
    return (row.label, f"{row.cost['F']:.2f}", f"{row.cost['MB']:.0f}", spread(speed, "{:.0f}"), str(row.lines))


def spread(values: Sequence[float], form: str = "{:.3f}") -> str:
    """Mean and standard deviation, as people write them."""
    if not values:
        return "-"
    mean = form.format(statistics.fmean(values))
    return f"{mean} +- {form.format(statistics.stdev(values))}" if len(values) > 1 and len({*values}) > 1 else mean


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
