"""Images per second: of runs of the same recipe, or of a few iterations made now; never without its source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import torch
from attrs import frozen

from distillkit.assets.folder import elsewhere, folder
from distillkit.assets.locate import located, wanted
from distillkit.disk.metrics import MetricsLog
from distillkit.disk.rundir import RunDir
from distillkit.networks import network_file
from distillkit.plan.stages import Stage
from distillkit.recipe import checkpoint, choice_from_table, tiny, with_checkpoint
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.train import threads
from distillkit.train.build import build
from distillkit.train.iterate import iterate

WARM_UP, SECONDS, ITERATIONS = 2, 5.0, 20  # of a measurement: not counted, at least, at most


@frozen(kw_only=True)
class Speed:
    """Images per second while training, and what is left."""

    img_per_sec: float
    source: str
    done: int = 0  # images seen

    def seconds_left(self, recipe: Recipe) -> float:
        return max(recipe.run.kimg * 1000 - self.done, 0) / self.img_per_sec


def logged(run: RunDir | None) -> Speed | None:
    """Read a run's speed from its ticks: all its images over all its seconds of training. None: it has no tick."""
    if run is None or not run.metrics.is_file():
        return None
    ticks = [row for row in MetricsLog(run.metrics).read() if row["what"] == "tick"]
    if not ticks or not ticks[-1]["seconds"]:
        return None
    nimg, seconds = ticks[-1]["nimg"], ticks[-1]["seconds"]
    return Speed(img_per_sec=nimg / seconds, source=str(run.path), done=nimg)


def trained_with(stage: Stage) -> tuple[str, ...]:
    """List the files that training needs and that are missing; metrics are not measured here."""
    needed = {asset.name for asset in wanted(attrs.evolve(stage.recipe, evaluate=()))}
    return tuple(name for name in stage.missing if name in needed)


def measured(stage: Stage, catalog: Catalog) -> Speed:
    """Time a few real iterations, with late losses and turns; random networks stand in for results of other recipes.

    Raises InputError where the data or a network are missing.
    """
    with ready(stage, catalog) as recipe:
        state = build(recipe, catalog)
        state.nimg = max(state.total - state.batch * (WARM_UP + ITERATIONS), 0)
        period = max(turn.every for turn in state.turns)
        for _ in range(WARM_UP):
            iterate(state)
        start, n, seconds = time.perf_counter(), 0, 0.0
        while not n or n % period or not (seconds >= SECONDS or n >= ITERATIONS):
            iterate(state)
            if state.device.type == "cuda":
                torch.cuda.synchronize()
            n, seconds = n + 1, time.perf_counter() - start
    return Speed(img_per_sec=n * state.batch / seconds, source=f"measured now, {n} iterations, {where(state.device)}")


def where(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, threads: {torch.get_num_threads()}"


@contextmanager
def ready(stage: Stage, catalog: Catalog) -> Iterator[Recipe]:
    """Inside, the recipe can be built and leaves nothing behind; random networks stand in for other recipes'."""
    with TemporaryDirectory(prefix="distillkit-plan-") as place:
        recipe = located(_ready(stage, Path(place), catalog), folder())
        torch.set_num_threads(recipe.run.threads or threads.choose())
        with elsewhere(place):
            yield recipe


def _ready(stage: Stage, place: Path, catalog: Catalog) -> Recipe:
    """Make the recipe ready: no metrics, little made beforehand, random networks in `place` for other recipes'."""
    recipe = attrs.evolve(stage.chained, run=attrs.evolve(stage.chained.run, max_nonfinite=10**9))
    for i, (name, card) in enumerate(stage.cards.items()):
        path = place / str(i)
        choice = choice_from_table("network", card["network"], catalog, where="the card of a network")
        made = network_file.new_network(choice, card["resolution"], card["channels"], card["label_dim"])
        network_file.save(path, made, {})
        for table in [table for table in ("generator", "teacher_score") if checkpoint(recipe, table) == name]:
            recipe = with_checkpoint(recipe, table, path)
    return prompt(recipe)


def prompt(recipe: Recipe) -> Recipe:
    """Without metrics, with terms that act from the start and make little beforehand."""
    terms = []
    for term in recipe.auxiliary_loss:
        least = tiny(term).config
        fewer = {key: getattr(least, key) for key in term.cls.before_training}
        slot = attrs.evolve(term.slot, start_kimg=0.0, stop_kimg=None)
        terms.append(attrs.evolve(term, config=attrs.evolve(term.config, **fewer), slot=slot))
    return attrs.evolve(recipe, evaluate=(), auxiliary_loss=tuple(terms))
