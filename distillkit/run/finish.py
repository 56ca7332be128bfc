"""The end of a run: its result first, then the pictures and the page, which may fail without harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import attrs

from distillkit.api import Denoiser, InputError, Sample
from distillkit.disk import manifest, results
from distillkit.disk.results import Outcome, Scores
from distillkit.disk.rundir import OF_THE_PLACE
from distillkit.evaluate import evaluation
from distillkit.evaluate.best import Best
from distillkit.evaluate.draw import Drawer
from distillkit.networks import adapter_file, licences, network_file
from distillkit.networks.asked import Asking
from distillkit.recipe import table_of
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import beside
from distillkit.run.training import Training
from distillkit.show import report
from distillkit.train import shared
from distillkit.train.state import State


def result(
    training: Training, recipe: Recipe, metrics: dict[str, float], outcomes: Mapping[str, Outcome], catalog: Catalog
) -> None:
    """Write the result folder: the student, its card, its metrics; with these the run is finished."""
    state, run, screen, teacher = training.state, training.run, training.screen, outcomes.get("teacher_score")
    scores = Scores(student=metrics, seconds=training.seconds, nimg=state.nimg)
    signs = list(map(str, training.watch.signs.values()))  # the last look needs no second one
    try:
        if training.returned:
            training.keeper.go_back(training.watch.healthy or 0)
        if best := training.keeper.take_back(run.checkpoints, run.fingerprint):
            scores = kept(training, scores, best)
    except InputError as error:  # the best average is lost; what is left is a student too
        wanted = "a healthy one" if training.returned else f"the best by {state.recipe.run.keep_best}"
        note = f"the result is the last average, not {wanted}: {error}"
        screen.warn(note)
        training.failures["the best average"] = note
    run.check()
    card, nfe = student_card(state, recipe, outcomes), Drawer.student(state).nfe
    if warning := licences.non_commercial(card.get("licence")):
        screen.line(f"the student is {warning}")
    made = {key: value for key, value in run.info.items() if key not in OF_THE_PLACE}
    network_file.save(
        run.result, network_file.carded(whole(state), "the student"), {**card, "nfe": nfe, "nimg": scores.nimg, **made}
    )
    if recipe.generator.adapter:
        adapter_file.save(run.result, recipe.generator.adapter, state.ema, shared.names(state.ema), base(recipe))
    Asking.of(state.dataset, state.layout, state.guidance).write(run.result)
    sampler = teacher_drawer(state, teacher, catalog)
    better, protocol = evaluation.better(state, scores.student), evaluation.protocols(state)
    remarks = collapsed(training, scores) + evaluation.remarks(state, scores.student, screen)
    scores = attrs.evolve(scores, nfe=nfe, better=better, protocol=protocol, remarks=remarks)
    scores = attrs.evolve(scores, logged=training.log.logged, fingerprint=run.fingerprint)
    if sampler:
        scores = beside.teacher(training, scores, teacher, sampler)
    results.write(run.path, attrs.evolve(scores, note="; ".join(training.failures.values())))
    manifest.seal(run.result)
    run.write_exit(0, "collapsed" if signs else "finished", state.nimg, None, signs)


def whole(state: State) -> Denoiser:
    """The average as a network like any other, with its adapters in its weights."""
    adapter = state.recipe.generator.adapter
    return cast(Denoiser, shared.merged(adapter, state.ema)) if adapter else state.ema


def base(recipe: Recipe) -> str:
    """What the weights beside the adapters are, as the recipe names them."""
    start, teacher = recipe.generator, recipe.teacher_score
    named = start.from_ or start.checkpoint
    if named is None and teacher is not None:
        named = teacher.slot.from_ or getattr(teacher.config, "checkpoint", None)
    return str(named or "")


def collapsed(training: Training, scores: Scores) -> list[str]:
    """Say which signs of a collapse the run ended with, and whether its result is from before them."""
    signs = training.watch.signs.values()
    if not signs:
        return []
    before = scores.nimg is not None and scores.nimg < min(sign.since for sign in signs)
    end = f"; the result is the average at {(scores.nimg or 0) / 1000:g} kimg, before that" if before else ""
    told = f"collapsed: {'; '.join(map(str, signs))}{end}"
    training.screen.warn(told)
    return [told]


def kept(training: Training, scores: Scores, best: Best) -> Scores:
    """Measure all metrics of `best`, which `state.ema` holds instead of the last average -> the result's scores."""
    state = training.state
    why = "the last healthy one" if training.returned else f"{state.recipe.run.keep_best} {best.value:.4g}"
    training.screen.line(f"the result is the average at {best.nimg / 1000:g} kimg: {why}")
    metrics = evaluation.evaluate(Drawer.student(state), state.evaluators, training.screen, training.failed)
    return attrs.evolve(scores, student=metrics, nimg=best.nimg, last=scores.student or None)


def student_card(state: State, recipe: Recipe, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """Collect what users of the student must know; assets have the names that `recipe` has, good on any machine."""
    card: dict[str, Any] = {
        "sample": table_of(recipe.sample), "seed": recipe.run.seed, "precision": recipe.run.precision,
    }  # fmt: skip
    card |= Asking.of(state.dataset, state.layout, state.guidance).facts()
    if state.dataset.latent:
        card["decoder"] = table_of(recipe.dataset)
    if found := licences.binding(recipe, [outcome.run_dir / "result" for outcome in outcomes.values()]):
        card["licence"] = found
    return card


def pages(training: Training, outcomes: Mapping[str, Outcome], catalog: Catalog) -> None:
    """Draw real images, teacher and student, and write the report; where that fails, the next call makes it."""
    state, run = training.state, training.run
    try:
        path = evaluation.write_comparison(state, run, teacher_drawer(state, outcomes.get("teacher_score"), catalog))
        training.loggers.picture(path, f"{run.info['recipe']}, beside real images and the teacher", state.nimg)
    except Exception as error:
        training.failed("the comparison picture", error)
    try:
        report.write_report(run.path, title=str(run.info["recipe"]))
    except Exception as error:
        training.failed("the report", error)


def teacher_drawer(state: State, teacher: Outcome | None, catalog: Catalog) -> Drawer | None:
    """Sample the teacher by Heun's method through its hook, guidance included; None: the recipe has no teacher."""
    if state.teacher is None:
        return None
    heun = cast(type[Sample], catalog.load("sample", "heun"))
    steps = {"steps": (teacher.scores.nfe + 1) // 2} if teacher and teacher.scores.nfe else {}
    return Drawer.student(state).teacher(heun(heun.Config(**steps)))
