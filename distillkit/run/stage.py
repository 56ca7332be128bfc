"""One recipe of the graph, from its folder to its finished result."""

from __future__ import annotations

import hashlib
import shutil
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from distillkit.api import Dataset, DistillkitError, Diverged, InputError
from distillkit.api.explained import explained
from distillkit.api.printable import printable
from distillkit.assets.folder import folder as assets
from distillkit.assets.locate import located
from distillkit.disk import checkpoint, files
from distillkit.disk.results import Outcome
from distillkit.disk.rundir import RunDir
from distillkit.dry.uncompiled import uncompiled
from distillkit.recipe import used_distributions, with_checkpoint
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import extension, finish, pieces, session
from distillkit.run.deliver import delivered
from distillkit.run.logged import LoggedScreen
from distillkit.run.loggers import Loggers
from distillkit.run.signals import StopRequest
from distillkit.run.training import Training
from distillkit.show import report
from distillkit.show.screen import Screen
from distillkit.show.ticks import Ticks
from distillkit.show.waits import waits_shown
from distillkit.train import snapshot, threads
from distillkit.train.build import build
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

SAMPLED = 16  # images of a data set that stand for all


def execute(
    recipe: Recipe, run: RunDir, outcomes: Mapping[str, Outcome], catalog: Catalog, screen: Screen, ranks: Ranks
) -> None:
    """Train, evaluate and write everything; `outcomes` are those of the recipes it starts from, by table.

    The caller holds the run's lock; other ranks listen.
    """
    with guarded(run), StopRequest() as stop, uncompiled():
        run.exit.unlink(missing_ok=True)  # how an earlier session ended is no longer true
        with LoggedScreen(screen, run.log) as logged, shown_warnings(logged):
            number = decided_threads(recipe, run)
            with ranks.asked("stage", recipe=recipe, outcomes=outcomes, threads=number):
                torch.set_num_threads(number)
                # The results lie here: it is the others that may need them.
                with delivered(outcomes, ranks), logged.progress("building networks, opening data", None, ""):
                    state = built(recipe, outcomes, catalog, ranks)
                train(state, recipe, run, outcomes, catalog, logged, stop)


def built(recipe: Recipe, outcomes: Mapping[str, Outcome], catalog: Catalog, ranks: Ranks) -> State:
    """Make the live objects on every rank, and see that all have the same images."""
    ranks.begin()
    state = ranks.together(lambda: build(with_results(located(recipe, assets()), outcomes), catalog, ranks))
    ranks.alike("what is installed", lambda: {**used_distributions(recipe, catalog), "torch": torch.__version__})
    ranks.alike("the data set", lambda: looks(state.dataset), InputError)
    return state


def looks(data: Dataset) -> dict[str, Any]:
    """What tells a data set from another, without reading it whole."""
    images = data.images(torch.linspace(0, len(data) - 1, min(len(data), SAMPLED)).long())
    digest = hashlib.sha256(images.contiguous().numpy().tobytes()).hexdigest()[:12]
    return {"images": len(data), "shape": data.shape, "labels": data.label_dim, "digest": digest}


def train(
    state: State, recipe: Recipe, run: RunDir, outcomes: Mapping[str, Outcome], catalog: Catalog, logged: LoggedScreen,
    stop: StopRequest,
) -> None:  # fmt: skip
    state.figures = run.path / "figures"
    with state.ranks.leading():
        if state.ranks.shards > 1:
            pieces.seen(state, run.path)
        extension.check(state, run)
        if begun := extension.begin(run):
            logged.line(begun)
        loggers = Loggers(recipe.logger, run, logged)
        teacher = outcomes.get("teacher_score")
        ours = "student" if state.teacher else "this run"
        ticks = Ticks(logged, state.total, teacher.scores if teacher else None, ours)
        training = Training(state, run, logged, stop, loggers, ticks)
        if training.resume():
            logged.line(f"resumed at {state.nimg / 1000:g} kimg")
        session.note(run, state)
    if state.ranks.size > 1:  # these weights are everybody's, whatever a component drew when it was made
        state.ranks.spread(snapshot.capture(state))
    with loggers.told(recipe, state.nimg) as outcome:
        training.train()
        metrics = training.measured or {}
        training.leisurely(lambda: finish.result(training, recipe, metrics, outcomes, catalog))
        training.leisurely(lambda: finish.pages(training, outcomes, catalog))
        outcome |= {"reason": run.status(), "metrics": metrics}


def decided_threads(recipe: Recipe, run: RunDir) -> int:
    """The number of CPU threads: measured once, then kept, since another number would add up in another order."""
    known = run.info.get("threads")
    number = recipe.run.threads or (known if type(known) is int and known > 0 else threads.choose())
    if number != known:
        run.note("threads", number)
    return number


def with_results(recipe: Recipe, outcomes: Mapping[str, Outcome]) -> Recipe:
    """Put the results of `outcomes` where the recipe says `from = "other.toml"`."""
    for table, outcome in outcomes.items():
        recipe = with_checkpoint(recipe, table, (outcome.run_dir / "result").resolve())
    return recipe


@contextmanager
def guarded(run: RunDir) -> Iterator[None]:
    """Note how the run ended, whatever happens; out of memory or disk becomes exit code 5."""
    code, reason = 1, ""
    try:
        yield
        return
    except Exception as error:
        known = explained(error)
        code = known.exit_code if known else 1
        reason = str(known) if known else f"{type(error).__name__}: {error}"
        if code == 1:
            with open(run.log, "a") as log:
                log.write(printable(traceback.format_exc()))
        if known is None or known is error:
            raise
        raise known from error
    except KeyboardInterrupt:
        code, reason = 130, "interrupted"
        raise
    finally:
        if reason and not run.ended:  # else the signal came after the result, before the page
            note_exit(run, code, reason)
            if code == Diverged.exit_code:
                page(run)


def note_exit(run: RunDir, code: int, reason: str) -> None:
    newest = checkpoint.newest(run.checkpoints)
    nimg = checkpoint.nimg(newest) if newest else 0
    try:
        run.write_exit(code, reason, nimg, newest.name if newest else None)
    except OSError as error:  # the disk is full: the error on its way says so
        warnings.warn(f"cannot write {run.exit}: {error.strerror}", stacklevel=2)


def page(run: RunDir) -> None:
    """Write the report of a run that diverged; where that fails, the error on its way is what counts."""
    try:
        report.write_report(run.path, title=str(run.info["recipe"]))
    except (DistillkitError, OSError) as error:
        warnings.warn(f"{run.path} has no report: {error}", stacklevel=2)


@contextmanager
def shown_warnings(screen: Screen) -> Iterator[None]:
    """Inside, the screen shows warnings, and what components say of waits."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *rest: screen.warn(str(message))
        with waits_shown(screen):
            yield


def write_recipes(run: RunDir, given: Path, resolved: str, others: Mapping[str, str]) -> None:
    """Copy recipe.toml as it was given, then write from/ (`others`, which it builds on) and last resolved.toml."""
    shutil.copyfile(given, run.recipe)
    (run.path / "from").mkdir(exist_ok=True)
    texts = {f"from/{name}": text for name, text in others.items()} | {run.resolved.name: resolved}
    run.note_recipes(texts)
    for name, text in texts.items():
        files.write_atomic(run.path / name, text.encode())
