"""The page of benchmarks/results/methods.json: every method on digits, at equal images and at equal seconds."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

KIMG, SECONDS = 16.0, 60.0  # the two budgets
SHOWN = ("fd", "sfd", "recall", "coverage", "fd_test", "sfd_test")
HEAD = ("FD", "sFD", "recall", "coverage", "FD held out", "sFD held out")
BOUNDS = {"fd": lambda teacher: teacher + 0.15, "sfd": lambda teacher: 1.8 * teacher}
FROM_DATA = dict.fromkeys(BOUNDS, lambda teacher: 4 * teacher)  # methods that have no teacher
WITHOUT = ("ct", "ict", "sct", "imm", "meanflow", "imf")

Row = dict[str, Any]
Fits = Callable[[Row, Row], bool]


def page(rows: Sequence[Row]) -> str:
    """The page: at the end, at equal images, at equal seconds, with several steps, and what each costs."""
    told, rows = unfinished(rows), [row for row in rows if row["seeds"]]
    return "\n\n".join([
        f"# Every method on digits\n\n{INTRODUCTION}",
        f"## At the end of each recipe\n\n{ENDS}\n\n" + ends(rows) + told,
        f"## With the Embedding Loss\n\n{LOSS}\n\n" + beside(rows),
        section(f"At {KIMG:g} thousand images", rows, lambda one, row: one["kimg"] <= KIMG + 0.1),
        section(f"After {SECONDS:g} seconds of training", rows, lambda one, row: seconds(one, row) <= SECONDS),
        f"## With more steps\n\n{STEPS}\n\n" + steps(rows),
        "## What it costs\n\n" + table(("recipe", "F", "MB", "images/s", "s in all", "lines"), map(costs, rows)),
    ]) + "\n"  # fmt: skip


INTRODUCTION = (
    "Conditional 8x8 digits, one network call unless a recipe's name says more, the shipped recipes as they are, mean "
    "and spread over seeds of student and teacher. Made by `distillkit study benchmarks/methods.toml` and "
    "`python benchmarks/methods.py runs`; every number is in methods.json. F is a forward pass of the student; seconds "
    "are CPU time on one thread, by the images per second of the last table, where that was measured. What there is to "
    "say of single methods is in [methods_notes.md](methods_notes.md)."
)
ENDS = (
    "Of the student that a run keeps: the last, or the best on the way where the recipe has `keep_best`. Within: FD at "
    "most the teacher's + 0.15 and sFD at most 1.8 times the teacher's, by the means of all seeds; for methods without "
    "a teacher, both at most 4 times those of the EDM teacher."
)
LOSS = (
    "At the ends, without and with it, over the seeds that both have; the difference is paired, mean and standard "
    "deviation, and below 0 where the loss helps. Its settings are the same everywhere. In DMD it stands in place of "
    "the regression."
)
STEPS = (
    "The same students as at the end, noise levels after the first 0.8, or 2, 0.8 and 0.3; not trained for them, and "
    "without TCM, which does not train down there."
)


def unfinished(rows: Sequence[Row]) -> str:
    """What became of runs that are not in the tables: a paragraph, or nothing."""
    states: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for seed, state in row.get("missing", {}).items():
            states.setdefault(state, {}).setdefault(row["label"], []).append(seed)
    told = "; ".join(f"{state}: {', '.join(map(of_seeds, runs.items()))}" for state, runs in states.items())
    return f"\n\nNot finished, and in no table, by recipe and seeds: {told}." if told else ""


def of_seeds(run: tuple[str, list[str]]) -> str:
    return f"{run[0]} {'+'.join(run[1])}"


def ends(rows: Sequence[Row]) -> str:
    """Of all methods, whether they are within what is asked, and the teacher."""
    teachers = {seed: one["teacher"] for row in rows for seed, one in row["seeds"].items() if one["teacher"]}
    made = []
    for row in rows:
        last = [one["end"] for one in row["seeds"].values()]
        made.append([row["label"], str(len(last)), within(row, teachers), thousands(last), *shown(last)])
    made.append(["teacher, 35 calls", str(len(teachers)), "", "-", *shown([*teachers.values()])])
    return table(("recipe", "seeds", "within", "kimg", *HEAD), made)


def within(row: Row, teachers: dict[str, Row]) -> str:
    """Yes or no, by the means over all seeds; of the run's own teacher, or else of another's with its seed."""
    bounds = FROM_DATA if row["label"].removeprefix("digits_").removesuffix("_el") in WITHOUT else BOUNDS
    own = [(one["end"], one["teacher"] or teachers.get(seed)) for seed, one in row["seeds"].items()]
    pairs = [(end, teacher) for end, teacher in own if teacher]
    if not pairs:
        return "-"
    mean = {name: [statistics.fmean(one[name] for one in side) for side in zip(*pairs, strict=True)] for name in bounds}
    return "yes" if all(found <= bounds[name](asked) for name, (found, asked) in mean.items()) else "no"


def beside(rows: Sequence[Row]) -> str:
    """Each method without and with the Embedding Loss."""
    by_label = {row["label"]: row["seeds"] for row in rows}
    made = []
    for label, seeds in by_label.items():
        other = by_label.get(f"{label}_el", {})
        both = [(seeds[seed]["end"], other[seed]["end"]) for seed in seeds if seed in other]
        if both:
            found = (part for name in ("fd", "sfd") for part in pair(name, both))
            made.append([label, str(len(both)), *found])
    heads = (f"{name}{part}" for name in ("FD", "sFD") for part in ("", " with EL", ", difference"))
    return table(("recipe", "seeds", *heads), made)


def pair(name: str, both: Sequence[tuple[Row, Row]]) -> tuple[str, str, str]:
    """A metric without, with, and the paired difference."""
    without, with_ = ([one[name] for one in side] for side in zip(*both, strict=True))
    return spread(without), spread(with_), spread([b - a for a, b in zip(without, with_, strict=True)], "{:+.3f}")


def section(title: str, rows: Sequence[Row], fits: Fits) -> str:
    """A table of the last evaluation of each run that fits a budget; a method without any is left out, and said."""
    found = {row["label"]: of(row, fits) for row in rows}
    none = [label for label, told in found.items() if not told]
    made = [[label, *told] for label, told in found.items() if told]
    text = f"## {title}\n\n" + table(("recipe", "kimg", *HEAD), made)
    return text + (f"\n\nNothing measured by then: {', '.join(none)}." if none else "")


def of(row: Row, fits: Fits) -> list[str]:
    """Thousands of images and numbers of the last evaluations that fit; nothing where there are none."""
    last = [found[-1] for one in row["seeds"].values() if (found := [way for way in one["way"] if fits(way, row)])]
    return [thousands(last), *shown(last)] if last else []


def thousands(measured: Sequence[Row]) -> str:
    return spread([one["kimg"] for one in measured], "{:.3g}")


def seconds(one: Row, row: Row) -> float:
    """Of training so far; inf where the speed is yet to be measured, beside the others on an idle machine."""
    speed = row["cost"]["images/s"]
    return float(1000 * one["kimg"] / speed) if speed else math.inf


def steps(rows: Sequence[Row]) -> str:
    made = [
        [row["label"], n, *shown(found)]
        for row in rows
        for n in ("2", "4")
        if (found := [one["steps"][n] for one in row["seeds"].values() if n in one["steps"]])
    ]
    return table(("recipe", "steps", *HEAD), made)


def shown(measured: Sequence[Row]) -> list[str]:
    return [spread([one[name] for one in measured if name in one]) for name in SHOWN]


def costs(row: Row) -> list[str]:
    cost, last = row["cost"], max((one["end"] for one in row["seeds"].values()), key=lambda one: one["kimg"])
    speed, whole = cost["images/s"], seconds(last, row)
    times = [f"{value:.0f}" if value and math.isfinite(value) else "-" for value in (speed, whole)]
    return [row["label"], f"{cost['F']:.2f}", f"{cost['MB']:.0f}", *times, str(cost["lines"])]


def spread(values: Sequence[float], form: str = "{:.3f}") -> str:
    """Mean and standard deviation, as people write them."""
    if not values:
        return "-"
    mean = form.format(statistics.fmean(values))
    if len({*values}) == 1:
        return mean
    return f"{mean} +- {form.replace('+', '').format(statistics.stdev(values))}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    results = Path(__file__).parent / "results"
    (results / "methods.md").write_text(page(json.loads((results / "methods.json").read_text())["rows"]))
