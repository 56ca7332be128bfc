"""Iterations of a recipe on the meta device: the engine's own turns, their work and their memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs
import torch
from attrs import frozen

from distillkit.api import Turn
from distillkit.dry import build as dry_build
from distillkit.dry import parts
from distillkit.dry.fused import keep_little
from distillkit.dry.meta import Live
from distillkit.dry.parts import Card
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.train import turns
from distillkit.train.state import State

SCALARS = 4096  # bytes: sums and averages of single numbers
FUSED = ("adam", "adamw")  # one kernel each, on every device that trains
PASSES = 2  # micro-batches of an iteration here, at most: further ones add work in proportion, and no memory


@frozen(kw_only=True)
class TurnCost:
    """One turn, once."""

    name: str
    every: int  # iterations
    flops: float  # over the whole batch
    peak: float  # bytes alive at most, with all that is kept between turns
    gradients: int  # bytes of them
    over: bool = False  # it comes in the beginning of a run alone: a warm-up


@frozen(kw_only=True)
class Cost:
    """What iterations with this batch and micro-batch take."""

    batch: int
    micro_batch: int
    turns: tuple[TurnCost, ...]

    @property
    def largest(self) -> TurnCost:
        """The turn that needs most memory."""
        return max(self.turns, key=lambda turn: turn.peak)

    @property
    def flops(self) -> float:
        """FLOPs of one iteration after all warm-ups, averaged over turns that come every so often."""
        return sum(turn.flops / turn.every for turn in self.turns if not turn.over)


def build(recipe: Recipe, cards: Mapping[str, Card], catalog: Catalog, live: Live) -> State:
    """Build the recipe's live objects on the meta device (see dry.build), optimizers ready."""
    state = dry_build.build(recipe, parts.images(recipe, cards, catalog), cards, catalog)
    if recipe.run.compile:
        keep_little(state, live)
    for updater in state.updaters.values():
        for p in updater.params:
            p.grad = torch.empty_like(p)
        updater.step(0, 1)
        updater.optimizer.zero_grad()
        if updater.settings.name in FUSED:  # here it is a dozen of operations for each parameter: much time for nothing
            updater.optimizer.step = _nothing_more
    return state


def _nothing_more() -> None:
    """A step of an optimizer whose kernel does no counted work and needs no memory beside its moments."""


def cost(state: State, live: Live, batch: int, few: Cost) -> Cost:
    """Count iterations with `batch` images, from those of a `few` of its micro-batches."""
    micro = few.micro_batch
    if batch <= few.batch:
        return few
    by_themselves = _grown(few, attrs.evolve(few, batch=0, turns=tuple(map(_nothing, few.turns))), batch)
    whole = {turn.name for turn in state.turns if state.auxiliaries and "generator_loss" in turn.losses}
    if not whole:  # each micro-batch by itself
        return by_themselves
    more = _iterate(state, live, (PASSES + 1) * micro, micro, whole)
    less = attrs.evolve(few, turns=tuple(turn for turn in few.turns if turn.name in whole))
    grown = {turn.name: turn for turn in _grown(more, less, batch).turns}
    return attrs.evolve(by_themselves, turns=tuple(grown.get(turn.name, turn) for turn in by_themselves.turns))


def small(state: State, live: Live, batch: int, micro: int, asked: Collection[str] = ()) -> Cost:
    """Count iterations of a few micro-batches: the memory of many, but for what each image keeps to the end.

    Of the turns that are `asked` for; by default of all.
    """
    return _iterate(state, live, min(PASSES * micro, batch), micro, asked)


def _nothing(turn: TurnCost) -> TurnCost:
    """Take the images from a turn: no work, the same memory."""
    return attrs.evolve(turn, flops=0)


def _grown(larger: Cost, smaller: Cost, batch: int) -> Cost:
    """Extend a straight line through the costs of two batches, which have the same micro-batch, to `batch`."""
    far = (batch - smaller.batch) / (larger.batch - smaller.batch)
    grown = [
        attrs.evolve(a, flops=b.flops + far * (a.flops - b.flops), peak=b.peak + far * (a.peak - b.peak))
        for a, b in zip(larger.turns, smaller.turns, strict=True)
    ]
    return attrs.evolve(larger, batch=batch, turns=tuple(grown))


def _iterate(state: State, live: Live, batch: int, micro: int, asked: Collection[str] = ()) -> Cost:
    """Count an iteration in which every turn is due, and another if the first one made something to keep."""
    due = [turn for turn in state.turns if not asked or turn.name in asked]
    run = attrs.evolve(state.recipe.run, batch=batch, micro_batch=micro)
    state.recipe = attrs.evolve(state.recipe, run=run)
    state.nimg, state.iteration = max(state.total - batch, 0), 0  # all waiting is over
    while True:
        state.made.clear()
        before = live.bytes
        found = Cost(batch=batch, micro_batch=micro, turns=tuple(_take(state, live, turn) for turn in due))
        state.made.clear()
        state.records.clear()
        if live.bytes <= before + SCALARS:
            return found


def _take(state: State, live: Live, turn: Turn) -> TurnCost:
    live.restart()
    turns.take(state, turn)
    gradients = sum(p.nbytes for name in turn.trains for p in state.updaters[name].params)
    over = turn.stop_kimg is not None and state.nimg >= turn.stop_kimg * 1000
    return TurnCost(
        name=turn.name, every=turn.every, flops=live.flops, peak=live.peak, gradients=gradients, over=over
    )  # fmt: skip
