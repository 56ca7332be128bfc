"""A student without its run, such as one from the Hub, measured as a recipe says."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from distillkit.api import UsageError
from distillkit.assets.folder import folder as assets
from distillkit.assets.locate import located, pin, require
from distillkit.disk import alike, results
from distillkit.disk.results import Outcome, Scores
from distillkit.evaluate import evaluation
from distillkit.evaluate.draw import Drawer
from distillkit.networks import imported, loaded, network_file, sampled
from distillkit.networks.model_card import METRICS
from distillkit.recipe import choice_from_table, read, shipped, with_checkpoint
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import stage, trust
from distillkit.show.screen import Screen
from distillkit.train import threads
from distillkit.train.build import build


def numbers(recipe: Recipe, catalog: Catalog, screen: Screen) -> Scores:
    """Build what a recipe says and measure its generator."""
    torch.set_num_threads(recipe.run.threads or threads.choose())
    with stage.shown_warnings(screen):
        with screen.progress("building networks, opening data", None, ""):
            state = build(recipe, catalog)
        start, draw = time.perf_counter(), Drawer.student(state)
        metrics = evaluation.evaluate(draw, state.evaluators, screen)
        seconds = time.perf_counter() - start
        remarks, protocol = evaluation.remarks(state, metrics, screen), evaluation.protocols(state)
        return Scores(student=metrics, nfe=draw.nfe, seconds=seconds, remarks=remarks, protocol=protocol)


def measure_apart(
    path: Path, sets: Sequence[str], other: Path | None, screen: Screen, sampler: sampled.Asked | None = None
) -> Outcome:
    """Evaluate a student that has no run beside it, by the recipe `other` or the shipped one that its card names.

    Raises UsageError where there is neither, or it makes other images than the recipe's data.
    """
    student, catalog = loaded.load(path, sampler), Catalog.installed()
    name = str(student.card.get("recipe", ""))
    file = other or (shipped.asked(name) if shipped.is_name(name) else None)
    if file is None or not (other or file.is_file()):
        raise UsageError(f"{path} has no run beside it: --recipe RECIPE says what to measure")
    recipe = of(path.resolve(), student.card, read(file, sets, catalog), catalog)
    if not recipe.evaluate:
        raise UsageError(f"{shipped.told(file)} has no [[evaluate]]: name a recipe that has some with --recipe")
    require(shipped.told(file), [recipe], assets())
    pin([recipe], assets())
    trust.admit(None, [recipe], ())
    if recipe.teacher_score is not None:
        screen.line(f"measured as {shipped.told(file)} says, without its teacher: the student stands in its place")
    scores = numbers(located(recipe, assets()), catalog, screen)
    beside = None if imported.is_foreign(path, catalog) else network_file.files(path)[0].parent / METRICS
    known = results.read_file(beside) if beside and beside.is_file() else Scores(student={})
    taught = {metric: value for metric, value in known.teacher.items() if alike.component(metric) in scores.protocol}
    scores = attrs.evolve(
        scores, teacher=taught, teacher_nfe=known.teacher_nfe, teacher_protocol=known.teacher_protocol,
        nimg=student.card.get("nimg"),
    )  # fmt: skip
    return Outcome(recipe_name=name or path.name, run_dir=path, reused=False, scores=scores)


def of(path: Path, card: dict[str, Any], recipe: Recipe, catalog: Catalog) -> Recipe:
    """The recipe with this student as its generator, drawn as its card says; a teacher that is a file is not read."""
    sample = choice_from_table("sample", card["sample"], catalog, str(path))
    run = attrs.evolve(recipe.run, seed=card.get("seed", 0), precision=card.get("precision", "fp32"))
    recipe = with_checkpoint(attrs.evolve(recipe, sample=sample, run=run, auxiliary_loss=()), "generator", path)
    teacher = recipe.teacher_score
    return (
        with_checkpoint(recipe, "teacher_score", path) if teacher and hasattr(teacher.config, "checkpoint") else recipe
    )
