"""One recipe of the graph, from its folder to its finished result."""

from __future__ import annotations

import shutil
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import torch

from distillkit.api import DistillkitError, ResourceError
from distillkit.api.errors import FULL
from distillkit.assets.folder import folder as assets
from distillkit.assets.locate import located
from distillkit.disk import checkpoint, files, results
from distillkit.disk.results import Outcome, Scores
from distillkit.disk.rundir import RunDir
from distillkit.evaluate import evaluation
from distillkit.evaluate.best import Best
from distillkit.evaluate.draw import Drawer
from distillkit.networks import licences, network_file
from distillkit.recipe import table_of, with_checkpoint
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run.logged import LoggedScreen
from distillkit.run.signals import StopRequest
from distillkit.run.training import Training
from distillkit.show import report
from distillkit.show.screen import Screen
from distillkit.train import threads
from distillkit.train.build import build
from distillkit.train.state import State


def execute(recipe: Recipe, run: RunDir, outcomes: Mapping[str, Outcome], catalog: Catalog, screen: Screen) -> None:
    """Train, evaluate and write everything; `outcomes`: of what it starts from, by table.

    The caller holds the run's lock.
    """
    with guarded(run), StopRequest() as stop:
        run.exit.unlink(missing_ok=True)  # how an earlier session ended is no longer true
        with LoggedScreen(screen, run.log) as logged, shown_warnings(logged):
            torch.set_num_threads(recipe.run.threads or threads.choose())
            state = build(with_results(located(recipe, assets()), outcomes), catalog)
            state.figures = run.path / "figures"
            training = Training(state, run, logged, stop)
            if training.resume():
                logged.line(f"resumed at {state.nimg / 1000:g} kimg")
            scores = Scores(student=training.train(), seconds=training.seconds, nimg=state.nimg)
            if training.keeper.take_back(run.checkpoints):
                scores = kept(state, training.keeper.best, scores, logged)
            finish(state, run, recipe, scores, outcomes, catalog, logged)


def with_results(recipe: Recipe, outcomes: Mapping[str, Outcome]) -> Recipe:
    """`from = "other.toml"` becomes the checkpoint that its run left."""
    for table, outcome in outcomes.items():
        recipe = with_checkpoint(recipe, table, (outcome.run_dir / "result").resolve())
    return recipe


def kept(state: State, best: Best, scores: Scores, screen: Screen) -> Scores:
    """The scores where `state.ema` is the best average and not the last: all its metrics, measured now."""
    screen.line(
        f"the result is the average at {best.nimg / 1000:g} kimg: {state.recipe.run.keep_best} {best.value:.4g}"
    )
    metrics = evaluation.evaluate(Drawer.student(state), state.evaluators, screen)
    return attrs.evolve(scores, student=metrics, nimg=best.nimg, last=scores.student)


def student_card(state: State, recipe: Recipe, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """What users of the student must know; names of assets are as `recipe` has them, good on any machine."""
    card: dict[str, Any] = {
        "sample": table_of(recipe.sample), "seed": recipe.run.seed, "precision": recipe.run.precision,
    }  # fmt: skip
    if state.dataset.latent:
        card["decoder"] = table_of(recipe.dataset)
    if found := licences.binding(recipe, [outcome.run_dir / "result" for outcome in outcomes.values()]):
        card["licence"] = found
    return card


def finish(
    state: State, run: RunDir, recipe: Recipe, scores: Scores, outcomes: Mapping[str, Outcome], catalog: Catalog,
    screen: Screen,
) -> None:  # fmt: skip
    """The result folder, the comparison picture, the report; `scores` have metrics, nimg and seconds of the result."""
    draw, teacher, card = Drawer.student(state), outcomes.get("teacher_score"), student_card(state, recipe, outcomes)
    if warning := licences.non_commercial(card.get("licence")):
        screen.line(f"the student is {warning}")
    network_file.save(run.result, state.ema, {**card, "nfe": draw.nfe, "nimg": scores.nimg, **run.info})
    sampler = teacher_drawer(state, teacher, catalog)
    if teacher:
        scores = attrs.evolve(scores, teacher=teacher.scores.student, teacher_nfe=teacher.scores.nfe)
    elif sampler and state.teacher.network is None:  # in closed form: nobody measured it before
        metrics = evaluation.evaluate(sampler, state.evaluators, screen)
        scores = attrs.evolve(scores, teacher=metrics, teacher_nfe=sampler.nfe)
    better, protocol = evaluation.better(state, scores.student), evaluation.protocol(state, screen)
    results.write(run.path, attrs.evolve(scores, nfe=draw.nfe, better=better, protocol=protocol))
    evaluation.write_comparison(state, run, sampler)
    run.write_exit(0, "finished", state.nimg, None)
    report.write_report(run.path, title=str(run.info["recipe"]))


def teacher_drawer(state: State, teacher: Outcome | None, catalog: Catalog) -> Drawer | None:
    """The teacher sampled by Heun's method through its hook, guidance included."""
    if state.teacher is None:
        return None
    heun = catalog.load("sample", "heun")
    steps = {"steps": (teacher.scores.nfe + 1) // 2} if teacher and teacher.scores.nfe else {}
    return Drawer.student(state).teacher(heun(heun.Config(**steps)))


@contextmanager
def guarded(run: RunDir) -> Iterator[None]:
    """Note how the run ended, whatever happens; out of memory or disk becomes exit code 5."""
    code, reason = 1, ""
    try:
        yield
        return
    except Exception as error:
        explained = resource(error) or error
        code = explained.exit_code if isinstance(explained, DistillkitError) else 1
        reason = f"{type(error).__name__}: {error}" if code == 1 else str(explained)
        if code == 1:
            with open(run.log, "a") as log:
                log.write(traceback.format_exc())
        if explained is error:
            raise
        raise explained from error
    except KeyboardInterrupt:
        code, reason = 130, "interrupted"
        raise
    finally:
        if reason:
            note_exit(run, code, reason)


def resource(error: Exception) -> ResourceError | None:
    text = str(error).partition("\n")[0]
    on_cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text  # torch has no class of its own for it
    if on_cpu or isinstance(error, torch.OutOfMemoryError | MemoryError):
        return ResourceError(
            f"out of memory: {text[text.find('you tried') :] if on_cpu else text}; lower run.micro_batch"
        )
    if isinstance(error, OSError) and error.errno in FULL:
        return ResourceError(f"disk full: {error.strerror}: {error.filename}; make room and resume")
    return None


def note_exit(run: RunDir, code: int, reason: str) -> None:
    newest = checkpoint.newest(run.checkpoints)
    nimg = checkpoint.nimg(newest) if newest else 0
    try:
        run.write_exit(code, reason, nimg, newest and newest.name)
    except OSError as error:  # the disk is full: the error on its way says so
        warnings.warn(f"cannot write {run.exit}: {error.strerror}", stacklevel=2)


@contextmanager
def shown_warnings(screen: Screen) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *rest: screen.warn(str(message))
        yield


def write_recipes(run: RunDir, recipe: Recipe, resolved: str, others: Mapping[str, str]) -> None:
    """recipe.toml as it was asked, the resolved recipes it builds on in from/, and last its own resolved.toml."""
    shutil.copyfile(recipe.path, run.recipe)
    (run.path / "from").mkdir(exist_ok=True)
    for name, text in others.items():
        files.write_atomic(run.path / "from" / name, text.encode())
    files.write_atomic(run.resolved, resolved.encode())
