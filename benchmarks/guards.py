"""False alarms of [run.guard]: healthy runs of shipped recipes, and how far each number stays from its threshold.

    python benchmarks/guards.py run RUNS --kimg 3 --seeds 0,1,2,3,4 --recipes recipes/digits_*.toml
    python benchmarks/guards.py table RUNS

`run` trains each recipe, in one process; with --kimg only so long, with four evaluations. What a recipe builds on is
trained once, in full. `table` judges what there is, again by the thresholds of today.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from statistics import fmean

from distillkit import guard
from distillkit.api import DistillkitError
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.rundir import RunDir
from distillkit.disk.typed import toml
from distillkit.recipe.schema import Guard
from distillkit.run import runner
from distillkit.show.screen import QuietScreen

LEAST = ("contrast", "diversity", "least apart")  # of the others the largest is shown
NUMBERS = ("saturated", "shift", "spread", "contrast", "diversity", "worse", "apart", "least apart")


def run(args: argparse.Namespace) -> None:
    """Train what is missing, one after the other."""
    for seed in args.seeds:
        for path in args.recipes:
            start = time.perf_counter()
            sets = [f"run.seed={seed}", "run.threads=1", f"evaluate.0.images={args.images}", "evaluate.0.final_seeds=1"]
            if args.kimg is not None:
                sets += [f"run.kimg={args.kimg}", f"evaluate.0.every_kimg={args.kimg / 4}"]
            try:
                runner.run(path, sets=sets, runs=args.runs, screen=QuietScreen())
                how = "done"
            except DistillkitError as error:
                how = f"{type(error).__name__}: {error}"
            print(f"## {path.stem} seed {seed}: {how}, {time.perf_counter() - start:.0f} s", flush=True)


def table(args: argparse.Namespace) -> None:
    """Print a line of Markdown for each recipe: runs, alarms, and the numbers nearest to their thresholds."""
    found = sorted(map(RunDir.open, args.runs.glob("0*-*")), key=lambda run: (run.info["recipe"], run.path))
    print("| recipe | runs | kimg | alarms |", " | ".join(NUMBERS), "|")
    print("|---|" + "---|" * (3 + len(NUMBERS)))
    for name, group in groupby(found, key=lambda run: str(run.info["recipe"])):
        distinct = {
            run.fingerprint: run for run in group if run.ended and any(guard.HEALTH in row for row in rows(run))
        }
        runs = list(distinct.values())
        kimg = sorted({toml(run.resolved)["run"]["kimg"] for run in runs})
        judged = [judge(run) for run in runs]
        alarms = ", ".join(sorted({sign for signs, _ in judged for sign in signs})) or "none"
        cells = [nearest(number, [values[number] for _, values in judged if number in values]) for number in NUMBERS]
        print(f"| {name} | {len(runs)} | {', '.join(f'{k:g}' for k in kimg)} | {alarms} |", " | ".join(cells), "|")


def rows(run: RunDir) -> list[guard.Row]:
    return list(MetricsLog(run.metrics).read())


def nearest(number: str, values: list[float]) -> str:
    return "-" if not values else f"{(min if number in LEAST else max)(values):.3g}"


def judge(run: RunDir) -> tuple[list[str], dict[str, float]]:
    """Judge the run's rows again -> signs that were named, or stood at the end; of each number the extreme that counts.

    Only looks after the first iterations count, and of accuracies the mean since the look before.
    """
    watch = guard.Watch(Guard(), toml(run.resolved)["run"]["batch"])
    named, ticks, extremes = set[str](), list[guard.Row](), dict[str, float]()
    for row in rows(run):
        named |= {sign.name for sign in watch.see(row)}
        if row["what"] == "tick":
            ticks.append(row)
        if guard.HEALTH in row:
            if row["nimg"] >= watch.guard.first * watch.batch:
                for number, value in [*images(row), *discriminators(ticks)]:
                    pick = min if number in LEAST else max
                    extremes[number] = pick(value, extremes.get(number, value))
            ticks = []
    return sorted(named | set(watch.signs)), extremes


def images(row: guard.Row) -> Iterator[tuple[str, float]]:
    for key, value in row[guard.HEALTH].items():
        yield key.partition("/")[0], float(value)


def discriminators(ticks: list[guard.Row]) -> Iterator[tuple[str, float]]:
    told = [row for row in ticks if "logit/deviation" in row]
    if told:
        apart = guard.separation(
            "", {key: fmean(row[key] for row in told) for key in told[0] if key.startswith("logit/")}
        )
        yield from [("apart", apart or 0.0), ("least apart", apart or 0.0)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("runs", type=Path)
    parser.add_argument("--recipes", type=Path, nargs="*", default=[])
    parser.add_argument("--kimg", type=float)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seeds", type=lambda text: [int(one) for one in text.split(",")], default=[0])
    args = parser.parse_args()
    (run if args.what == "run" else table)(args)
