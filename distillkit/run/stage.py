"""One recipe of the graph, from its folder to its finished result."""

from __future__ import annotations

import json
import shutil
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from distillkit.api import DistillkitError, InputError, ResourceError, UsageError
from distillkit.api.errors import FULL
from distillkit.disk import checkpoint, files
from distillkit.disk.rundir import RunDir
from distillkit.evaluate import evaluation
from distillkit.evaluate.best import Best
from distillkit.evaluate.draw import Drawer
from distillkit.networks import licences, network_file
from distillkit.recipe import table_of
from distillkit.recipe.load import load
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


@attrs.frozen(kw_only=True)
class Outcome:
    """How a recipe's run ended."""

    recipe_name: str
    run_dir: Path
    reused: bool
    metrics: dict[str, float]
    nfe: int
    seconds: float  # of training
    teacher: Outcome | None = None


def outcome(run: RunDir, reused: bool, teacher: Outcome | None) -> Outcome:
    """Read back what a finished run left."""
    facts = result_facts(run)
    if teacher is None and facts["teacher"]:
        teacher = Outcome(recipe_name="teacher", run_dir=run.path, reused=True, seconds=0.0, **facts["teacher"])
    return Outcome(
        recipe_name=run.info["recipe"], run_dir=run.path, reused=reused, metrics=facts["metrics"],
        nfe=facts["nfe"], seconds=facts["seconds"], teacher=teacher,
    )  # fmt: skip


def result_facts(run: RunDir) -> dict[str, Any]:
    path = run.result / "metrics.json"
    try:
        facts = json.loads(path.read_bytes())
        return {key: facts[key] for key in ("metrics", "nfe", "seconds", "teacher")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"cannot read {path} of a finished run ({type(error).__name__}): run it with --again"
        ) from error


def execute(recipe: Recipe, run: RunDir, results: Mapping[str, Outcome], catalog: Catalog, screen: Screen) -> None:
    """Train, evaluate and write everything; `results` are those of the parents, by table. The run is locked."""
    with run.lock(), guarded(run), StopRequest() as stop:
        run.exit.unlink(missing_ok=True)  # how an earlier session ended is no longer true
        with LoggedScreen(screen, run.log) as logged, shown_warnings(logged):
            torch.set_num_threads(recipe.run.threads or threads.choose())
            state = build(with_results(recipe, results), catalog)
            state.figures = run.path / "figures"
            training = Training(state, run, logged, stop)
            if training.resume():
                logged.line(f"resumed at {state.nimg / 1000:g} kimg")
            metrics = training.train()
            facts = {"metrics": metrics, "seconds": training.seconds, "nimg": state.nimg}
            if training.keeper.take_back(run.checkpoints):
                facts |= kept(state, training.keeper.best, metrics, logged)
            finish(state, run, facts, results.get("teacher_score"), catalog, logged)


def with_results(recipe: Recipe, results: Mapping[str, Outcome]) -> Recipe:
    """`from = "other.toml"` becomes the checkpoint that its run left."""
    for table, parent in results.items():
        path = str((parent.run_dir / "result").resolve())
        if table == "generator":
            recipe = attrs.evolve(recipe, generator=attrs.evolve(recipe.generator, checkpoint=path))
            continue
        choice = recipe.teacher_score
        if not hasattr(choice.config, "checkpoint"):
            raise UsageError(f"teacher_score.from: {choice.name!r} takes no checkpoint")
        choice = attrs.evolve(choice, config=attrs.evolve(choice.config, checkpoint=path))
        recipe = attrs.evolve(recipe, teacher_score=choice)
    return recipe


def kept(state: State, best: Best, last: dict[str, float], screen: Screen) -> dict[str, Any]:
    """What the result says where `state.ema` is the best average and not the last: all its metrics, measured now."""
    screen.line(
        f"the result is the average at {best.nimg / 1000:g} kimg: {state.recipe.run.keep_best} {best.value:.4g}"
    )
    metrics = evaluation.evaluate(Drawer.student(state), state.evaluators, screen)
    return {"metrics": metrics, "nimg": best.nimg, "last": last}


def finish(
    state: State, run: RunDir, facts: dict[str, Any], teacher: Outcome | None, catalog: Catalog, screen: Screen
) -> None:
    """The result folder, the comparison picture, the report; `facts`: metrics, nimg, seconds of the result."""
    draw = Drawer.student(state)
    settings = state.recipe.run
    card = {
        "sample": table_of(state.recipe.sample), "nfe": draw.nfe, "nimg": facts["nimg"], "seed": settings.seed,
        "precision": settings.precision, **run.info,
    }  # fmt: skip
    if state.dataset.latent:
        card["decoder"] = load(run.resolved).data["dataset"]  # as written: names of assets stay names
    if found := licences.of_run(run.path):
        card["licence"] = found
    if warning := licences.non_commercial(found):
        screen.line(f"the student is {warning}")
    network_file.save(run.result, state.ema, card)
    sampler = teacher_drawer(state, teacher, catalog)
    measured = teacher and {"metrics": teacher.metrics, "nfe": teacher.nfe}
    if measured is None and sampler and state.teacher.network is None:  # in closed form: nobody measured it before
        measured = {"metrics": evaluation.evaluate(sampler, state.evaluators, screen), "nfe": sampler.nfe}
    protocol = evaluation.protocol(state, screen)
    files.write_json(run.result / "metrics.json", {**facts, "nfe": draw.nfe, "teacher": measured, "protocol": protocol})
    evaluation.write_comparison(state, run, sampler)
    run.write_exit(0, "finished", state.nimg, None)
    report.write_report(run.path, title=state.recipe.name)


def teacher_drawer(state: State, teacher: Outcome | None, catalog: Catalog) -> Drawer | None:
    """The teacher sampled by Heun's method through its hook, guidance included."""
    if state.teacher is None:
        return None
    heun = catalog.load("sample", "heun")
    steps = {"steps": (teacher.nfe + 1) // 2} if teacher else {}
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


def write_recipes(run: RunDir, recipe: Recipe, resolved: str, parents: Mapping[str, str]) -> None:
    """recipe.toml as it was asked, the resolved recipes it builds on in from/, and last its own resolved.toml."""
    shutil.copyfile(recipe.path, run.recipe)
    (run.path / "from").mkdir(exist_ok=True)
    for name, text in parents.items():
        files.write_atomic(run.path / "from" / name, text.encode())
    files.write_atomic(run.resolved, resolved.encode())
