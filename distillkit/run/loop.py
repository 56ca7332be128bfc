"""The loop of a run, the same on every rank: iterations, and between them what is due."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager

from distillkit.api import Preempted
from distillkit.evaluate import evaluation
from distillkit.run.signals import StopRequest
from distillkit.show.screen import Bar
from distillkit.train import ema
from distillkit.train.iterate import iterate
from distillkit.train.state import State


class Loop:
    """What the ranks do in step; each decision is made of what all of them know."""

    def __init__(self, state: State, stop: StopRequest) -> None:
        self.state, self.stop, self.ranks = state, stop, state.ranks
        self.ranks.undisturbed = stop.held
        self.seconds = 0.0  # of training, over all sessions
        self.returned = False  # to the last healthy average

    def train(self) -> None:
        """Run to the end. Raises Preempted after saving if a signal asked a rank to stop."""
        state = self.state
        if state.nimg == 0:
            self.leisurely(self.begin)
        elif state.nimg < state.total:
            self.show()  # what was due at the checkpoint, if the process died in it
        with self.progress() as bar:
            bar.advance(state.nimg, self.seconds)
            while state.nimg < state.total and not self.returned:
                start = time.perf_counter()
                with self.ranks.lending():
                    iterate(state)
                took = time.perf_counter() - start
                self.seconds += took
                if not state.recipe.run.compile:  # else a turn that waits may compile, for minutes, at any time
                    self.ranks.hurry()
                bar.advance(state.batch, took)
                self.maintain()
        self.ranks.settle()
        if not self.returned:
            self.show()

    def maintain(self) -> None:
        """What is due between iterations. Saving comes first: nothing after it can lose what was trained."""
        state, settings = self.state, self.state.recipe.run
        finished = state.nimg >= state.total
        if finished or evaluation.crossed(state, settings.tick_kimg or settings.kimg / 20):
            self.tick()
        due = bool(evaluation.due(state, finished)) or self.stage_due(finished)
        stop, overdue = self.ranks.agree(self.stop.requested is not None, self.overdue())
        if due or stop or overdue:
            self.save(must=finished or stop)
        if stop:
            raise self.preempted(self.stop.requested or "a signal to another process")
        if due and not finished:
            self.show()

    def show(self) -> None:
        """Measure and draw the average as it is now."""
        with self.ranks.lending():
            ema.show(self.state)
        self.leisurely(self.look)

    def stage_due(self, finished: bool) -> bool:
        """Whether a checkpoint and pictures are due by the count of images."""
        settings = self.state.recipe.run
        return finished or evaluation.crossed(self.state, settings.checkpoint_kimg or settings.kimg / 5)

    @abstractmethod
    def progress(self) -> AbstractContextManager[Bar]:
        """A bar over the images of the run."""

    @abstractmethod
    def leisurely(self, work: Callable[[], None]) -> None:
        """On the first rank do work, for which all that was trained is saved; the others do what it asks meanwhile."""

    @abstractmethod
    def begin(self) -> None:
        """What the first rank does before anything has trained."""

    @abstractmethod
    def look(self) -> None:
        """On the first rank: metrics and pictures that are due now and not there yet."""

    @abstractmethod
    def tick(self) -> None:
        """Means since the last tick."""

    @abstractmethod
    def overdue(self) -> bool:
        """Whether a kill would lose too much."""

    @abstractmethod
    def save(self, must: bool) -> None:
        """Save a checkpoint; `must`: it is an error if that fails."""

    @abstractmethod
    def preempted(self, signal: str) -> Preempted:
        """What to raise now that all is saved."""
