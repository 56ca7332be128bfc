"""The ranks beside the first: they train in step with it, and otherwise do what it asks. They read and write no run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from distillkit.api import Preempted
from distillkit.disk.results import Outcome
from distillkit.dry.uncompiled import uncompiled
from distillkit.evaluate import serve
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.run import pieces, stage
from distillkit.run.deliver import delivered
from distillkit.run.loop import Loop
from distillkit.run.signals import StopRequest
from distillkit.show.screen import Bar, NoBar
from distillkit.train import snapshot, turns
from distillkit.train.ranks.alone import Ranks


def follow(ranks: Ranks) -> None:
    """Do what the first rank asks for until it has finished. Raises what ended it."""
    # Never at once, not even between two recipes: the first one, which got the signal too, says what comes of it.
    with StopRequest() as stop, uncompiled():
        ranks.listen({"stage": lambda **facts: execute(ranks, stop, **facts)})


def execute(ranks: Ranks, stop: StopRequest, recipe: Recipe, outcomes: Mapping[str, Outcome], threads: int) -> None:
    """Train one recipe beside the first rank, see `stage.execute`."""
    torch.set_num_threads(threads)
    with delivered(outcomes, ranks) as here:
        state = stage.built(recipe, here, Catalog.installed(), ranks)
    ranks.listen(pieces.words(state))  # it prepares the folder, or finds the checkpoint to go on from
    snapshot.restore(state, *ranks.spread(snapshot.capture(state)))
    state.records.clear()  # what it had recorded is its to report
    loop = Following(state, stop)
    loop.train()
    loop.leisurely(lambda: None)  # it writes the result
    loop.leisurely(lambda: None)  # and the page


class Following(Loop):
    """A run in progress, of which this rank has the state alone."""

    def progress(self) -> AbstractContextManager[Bar]:
        return nullcontext(NoBar())

    def leisurely(self, work: Callable[[], None]) -> None:
        self.returned = self.ranks.listen(serve.words(self.state)).get("returned", False)

    def begin(self) -> None:
        pass

    look = begin

    def tick(self) -> None:
        turns.check(self.state)
        self.ranks.collect(self.state.records)

    def overdue(self) -> bool:
        return False

    def save(self, must: bool) -> None:
        self.tick()
        self.ranks.listen(pieces.words(self.state))

    def preempted(self, signal: str) -> Preempted:
        return Preempted(f"{signal}: the first process has saved")
