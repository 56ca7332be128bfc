"""Settings by successive halving: many points for a few images, the best again for more, then fresh seeds decide.

A rung is an ordinary study, so what a killed command has finished is reused; its last step is a claim about the best
point against the recipe as it is, over seeds that no rung has seen.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from distillkit.api import DistillkitError, UsageError
from distillkit.compare import Run
from distillkit.compare.direction import higher_is_better
from distillkit.disk import files, results
from distillkit.recipe import shipped
from distillkit.recipe.write import toml
from distillkit.registry import Catalog
from distillkit.study.claim import IMAGES
from distillkit.study.claimed import Claimed, claimed
from distillkit.study.plan import read
from distillkit.study.whole import Screen, problems, whole
from distillkit.study.work import DONE, found

ITSELF = "as it is"
BEST = "tuned"
MEASURED = 16  # times on the way, of those that fresh seeds decide between


@frozen
class Trial:
    """One point, and the metrics of its last rung against those of the recipe as it is."""

    label: str
    set: tuple[str, ...]
    score: float = math.inf  # mean of ln(value / value as it is), negative where it is better; inf: no such run


@frozen
class Tuning:
    """What is asked for."""

    recipe: Path
    name: str
    metrics: tuple[str, ...]  # (): the first two whose better side is known, as a study has them
    kimg: float  # of the last rung
    seed: int  # of all rungs
    evaluations: int  # tables [[evaluate]]
    seeds: tuple[int, ...]  # fresh ones
    eta: int = 3  # of so many trials one goes on, with so many times the images
    set: tuple[str, ...] = ()

    def folder(self, runs: Path) -> Path:
        """Where its files are."""
        return runs / f"tune-{self.name}"

    def named(self, runs: Path) -> str:
        """The recipe as a file in that folder names it."""
        return shipped.seen_from(self.recipe, self.folder(runs).absolute())

    def rungs(self, trials: int, rungs: int) -> list[tuple[int, float]]:
        """Trials and kimg of each rung."""
        return [(max(1, round(trials / self.eta**i)), self.kimg / self.eta ** (rungs - 1 - i)) for i in range(rungs)]


def tuned(
    asked: Tuning, trials: Sequence[Trial], rungs: int, runs: Path, screen: Screen,
    told: Callable[[int, float, Sequence[Trial]], None], at_once: int = 1,
) -> tuple[Trial, Claimed] | None:  # fmt: skip
    """The best trial and the claim about it, None: none was better than the recipe as it is.

    `told` is called with each rung's number, kimg and trials, best first.
    Raises UsageError for metrics that cannot be tuned for, DistillkitError where none of a rung finished, Preempted
    after a signal.
    """
    left = list(trials)
    for i, (number, kimg) in enumerate(asked.rungs(len(trials), rungs)):
        metrics, left = rung(asked, left[:number], i + 1, kimg, runs, screen, at_once)
        asked = evolve(asked, metrics=metrics)
        told(i + 1, kimg, left)
    return (left[0], decided(asked, left[0], runs, screen, at_once)) if left[0].score < 0 else None


def rung(
    asked: Tuning, trials: Sequence[Trial], i: int, kimg: float, runs: Path, screen: Screen, at_once: int
) -> tuple[tuple[str, ...], list[Trial]]:
    """Run all trials for so many images -> the metrics, and the trials by their scores, those that failed last."""
    recipe = asked.named(runs)
    cells = [{"label": one.label, "recipe": recipe, "set": list(one.set)} for one in trials]
    base = {"label": ITSELF, "recipe": recipe}
    path = write(asked, f"rung-{i}", runs, kimg, seeds=[asked.seed], cell=[base, *cells])
    done, made = whole(read(path, Catalog.installed()), runs, path.parent / path.stem, screen, at_once=at_once)
    at = found([one.job for one in done], runs)
    run = {
        one.job.cell[0]: Run.read(at[one.job.fingerprint].path)
        for one in done
        if one.job.cell and one.state in DONE and one.job.fingerprint in at
    }
    _, bad = problems(done)
    if ITSELF not in run or len(run) == 1:
        lost = "the recipe as it is" if ITSELF not in run else "any trial"
        raise DistillkitError("\n".join([f"rung {i} ends without {lost}:", *bad]))
    for line in bad:
        warnings.warn(line, stacklevel=2)
    if made.comparison is None:
        raise UsageError(made.why_not)
    targets, base_scores = made.comparison.targets, run[ITSELF].scores.student
    metrics = tuple(one.metric for one in targets if asked.metrics or base_scores[one.metric] > 0)
    if not metrics:
        raise UsageError("no metric of the recipe is above 0 and has a better side; --metric names one")
    scores = {label: score(metrics, found_, run[ITSELF]) for label, found_ in run.items()}
    judged = [evolve(one, score=scores.get(one.label, math.inf)) for one in trials]
    return metrics, sorted(judged, key=lambda one: one.score)


def score(metrics: Sequence[str], run: Run, base: Run) -> float:
    """Mean over the metrics of ln(value / value of the recipe as it is), of higher ones with the other sign."""
    logs = []
    for name in metrics:
        ours, theirs = run.scores.student[name], base.scores.student[name]
        higher = higher_is_better(name, base.scores.better)
        if higher is None or not theirs > 0:
            known = [row.name for row in results.table(base.scores.student) if (row.student or 0) > 0]
            told = f"{name} is {theirs:g} with the recipe as it is: --metric takes one above 0 that has a better side"
            raise UsageError(f"{told}, of {', '.join(known) or 'none'}")
        if not ours > 0 and higher:
            return math.inf
        if not ours > 0:
            raise UsageError(f"{name} is {ours:g} with {run.path.name}: a metric that is tuned for stays above 0")
        logs.append(math.log(ours / theirs) * (-1 if higher else 1))
    return statistics.fmean(logs)


def decided(asked: Tuning, best: Trial, runs: Path, screen: Screen, at_once: int) -> Claimed:
    """The best trial against the recipe as it is, with fresh seeds."""
    recipe = asked.named(runs)
    cells = [{"label": ITSELF, "recipe": recipe}, {"label": BEST, "recipe": recipe, "set": list(best.set)}]
    claims = [
        {"says": f"{name} is better at the end", "arm": BEST, "metric": name} for name in asked.metrics
    ] + [
        {"says": f"{name} is there in half of the images", "arm": BEST, "metric": name, "measure": IMAGES, "least": 2.0}
        for name in asked.metrics
    ]  # fmt: skip
    often = [f"evaluate.{i}.every_kimg={short(asked.kimg / MEASURED)}" for i in range(asked.evaluations)]
    tables = {"seeds": list(asked.seeds), "cell": cells, "claim": claims, "set": often}
    name = f"fresh-seeds-{files.check_of({**tables, 'kimg': asked.kimg, 'all': asked.set})[:6]}"  # each claim its own
    path = write(asked, name, runs, asked.kimg, **tables)
    return claimed(read(path, Catalog.installed()), runs, path.parent / path.stem, screen, at_once=at_once)


def short(kimg: float) -> float:
    """Three digits, which a fingerprint and a reader both see."""
    return float(f"{kimg:.3g}")


def write(asked: Tuning, name: str, runs: Path, kimg: float, **tables: Any) -> Path:
    """Write the file of a rung, which `distillkit study` takes as well."""
    folder = asked.folder(runs)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    given = [*asked.set, f"run.kimg={short(kimg)}", *tables.pop("set", ())]
    made = {"schema": 1, "name": f"{asked.name}-{name}", "set": given, "metrics": list(asked.metrics), **tables}
    files.write_atomic(path, toml(made).encode())
    return path
