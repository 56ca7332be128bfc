"""What must hold between the tables of a recipe."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from typing import Any

from distillkit.api import Choice, Evaluate, GeneratorLoss, UsageError
from distillkit.disk.results import REAL
from distillkit.recipe.layer import removed
from distillkit.recipe.load import NAMED, is_recipe_name
from distillkit.recipe.made_for import misused
from distillkit.recipe.problem import Report
from distillkit.recipe.schema import Generator, Run, by_logged_name, group_of
from distillkit.recipe.shown import shown

BETTER = ("lower", "higher")


def check(values: dict[str, Any], report: Report) -> None:
    """Checks among the tables that could be read; a table with problems of its own is left alone."""
    run, generator = values.get("run"), values.get("generator", Generator())
    teacher = values.get("teacher_score")
    for key, message, hint in misused(values):
        report(key, message, hint)
    if isinstance(run, Run):
        _check_micro_batch(run, report)
        if isinstance(generator, Generator):
            _check_average(run, generator, report)
        if isinstance(method := values.get("generator_loss"), Choice):
            _check_group(run, method, report)
        most = 64 * (os.cpu_count() or 1)  # torch dies of a segmentation fault at some higher number
        if run.threads is not None and run.threads > most:
            report(("run", "threads"), f"at most {most} on this machine, got {run.threads}", "")
        metrics = values.get("evaluate", ())
        if run.keep_best is not None and isinstance(metrics, tuple) and all(isinstance(m, Choice) for m in metrics):
            _check_keep_best(run.keep_best, metrics, report)
    if isinstance(teacher, Choice):
        _check_start(teacher.slot.from_, getattr(teacher.config, "checkpoint", None), "teacher_score", report)
        if teacher.slot.from_ and not hasattr(teacher.config, "checkpoint"):
            report(
                ("teacher_score", "from"), f"{shown(teacher.name)} takes no checkpoint, so no result of a recipe", ""
            )
    if isinstance(generator, Generator):
        _check_start(generator.from_, generator.checkpoint, "generator", report)
        if not (generator.from_ or generator.checkpoint):
            _check_init(generator, teacher, report)


def overruled(method: Any, generator: Any, report: Report) -> None:
    """Keys of the student's network that a table [generator], as given, sets otherwise than its method does."""
    if not isinstance(method, Choice) or not isinstance(generator, dict):
        return
    if all(getattr(method.cls, name) is getattr(GeneratorLoss, name) for name in ("network_keys", "student")):
        return  # it sets none, and need not be built
    for key, wanted in method.build().network_keys.items():
        for table in ("network", "network_keys"):
            given = generator.get(table)
            if isinstance(given, dict) and not removed(found := given.get(key, wanted)) and found != wanted:
                message = f"{shown(found)} contradicts generator_loss {shown(method.name)}, which sets {shown(wanted)}"
                report(("generator", table, key), message, "leave it out")


def _check_micro_batch(run: Run, report: Report) -> None:
    if run.micro_batch is None or run.batch % run.micro_batch == 0:
        return
    below = next(n for n in range(min(run.micro_batch, run.batch), 0, -1) if run.batch % n == 0)
    report(
        ("run", "micro_batch"), f"must divide run.batch = {run.batch}, got {run.micro_batch}", f"for example {below}"
    )


def _check_average(run: Run, generator: Generator, report: Report) -> None:
    images = run.kimg * 1000
    if (generator.ema_every - 1) * run.batch >= images:  # so many before it first moves
        iterations = math.ceil(images / run.batch)
        why = f"the average would never move: the run has {iterations} iterations, got {generator.ema_every}"
        report(("generator", "ema_every"), why, f"at most {iterations}")


def _check_group(run: Run, method: Choice[GeneratorLoss], report: Report) -> None:
    group = group_of(method)
    for key in ("batch", "micro_batch"):
        n = getattr(run, key)
        if n is not None and n % group:
            why = f"must be a multiple of {group}, images that {shown(method.name)} takes together, got {n}"
            report(("run", key), why, f"for example {-(-n // group) * group}")


def _check_keep_best(asked: str, parts: Sequence[Choice[Evaluate]], report: Report) -> None:
    """A metric that is measured in time, and that somebody says is better lower or higher."""
    named = by_logged_name(parts)
    due = [name for name, part in named.items() if part.slot.every_kimg is not None]
    name, _, metric = asked.partition("/")
    if name not in due:
        hint = f"those here: {', '.join(due) or 'none'}"
        report(("run", "keep_best"), f"{shown(asked)}: no [[evaluate]] with every_kimg gives it", hint)
    elif (way := named[name].cls.direction(metric)) not in BETTER:
        known = [pattern for pattern, way in named[name].cls.better.items() if way in BETTER]
        why = "which is neither good nor bad" if way else f"and {shown(name)} does not say which way that is better"
        hint = f"it does of: {', '.join(known)}" if known else "its class has to: better = {...}"
        report(("run", "keep_best"), f"{shown(asked)}: {why}", hint)


def unmeasured(asked: str, metrics: Collection[str]) -> UsageError:
    """The error of a metric of `run.keep_best`, "<component>/<name>", that is not among `metrics`."""
    return UsageError(f"run.keep_best = {shown(asked)} is not measured; there are {', '.join(metrics)}")


def refuse_unmeasured(asked: str | None, component: str, names: Collection[str] | None) -> None:
    """Raises UsageError where `run.keep_best` is of `component` and not among its `names`, nor of what is beside one.

    `names` None: it does not tell what it measures.
    """
    of, _, metric = (asked or "").partition("/")
    plain = metric.removesuffix("_sd")
    for suffix in REAL:
        plain = plain.removesuffix(suffix)
    if asked and of == component and names is not None and not {metric, plain} & {*names}:
        raise unmeasured(asked, [f"{component}/{name}" for name in names])


def _check_start(from_: str | None, checkpoint: str | None, table: str, report: Report) -> None:
    if from_ and checkpoint:
        report((table, "from"), "given together with checkpoint", "keep the one to start from")
    if from_ is not None and not is_recipe_name(from_):
        report((table, "from"), f"{NAMED}, got {shown(from_)}", "")


def _check_init(generator: Generator, teacher: Any, report: Report) -> None:
    if generator.init == "scratch" and generator.network is None:
        report(
            ("generator", "network"),
            'missing, and init = "scratch" needs an architecture',
            "a table [generator.network]",
        )
    if generator.init == "scratch" and generator.adapter is not None:
        hint = 'init = "teacher", from or checkpoint; without [generator.adapter] all weights train'
        report(("generator", "adapter"), "there are no weights to stand beside", hint)
    if generator.network is not None and generator.network_keys:
        report(("generator", "network_keys"), "given together with network", "write the keys into [generator.network]")
    if generator.init == "teacher" and teacher is None:
        hint = 'add [teacher_score], or give [generator] from, checkpoint or init = "scratch"'
        report(("generator", "init"), '"teacher" needs a [teacher_score]', hint)
