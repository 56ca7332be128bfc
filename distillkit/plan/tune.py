"""The levers of a recipe, tried here: each one beside the recipe as it is, in alternating pairs of iterations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import attrs
import torch
from attrs import frozen

from distillkit.api import DistillkitError
from distillkit.api.explained import explained
from distillkit.assets.folder import cache
from distillkit.device import pick_device
from distillkit.dry.meta import blank
from distillkit.plan import dry
from distillkit.plan.pairs import Clock, Ratio, alternating, ratio
from distillkit.plan.speed import WARM_UP, ready
from distillkit.plan.stages import Stage
from distillkit.recipe.schema import Recipe
from distillkit.registry import Catalog
from distillkit.train import compiled
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.levers import LEVERS, Lever
from distillkit.train.state import State

LONG = 0.2  # seconds of one side of a pair, at least
PAIRS, SECONDS = 15, 10.0  # of a lever: at most, and after so long five do; what it takes to warm up is beside that


@frozen(kw_only=True)
class Tried:
    """What one lever, or several together, made of the recipe; `refused`: why nothing."""

    levers: tuple[Lever, ...]
    time: Ratio | None = None
    memory: float | None = None  # its peak over the recipe's, both counted; None: it cannot be counted
    refused: str = ""


def changed(table: Any, key: str, value: Any) -> Any:
    """The table with another value of a key such as "run.compile"."""
    head, _, rest = key.partition(".")
    return attrs.evolve(table, **{head: changed(getattr(table, head), rest, value) if rest else value})


def pulled(recipe: Recipe, levers: Sequence[Lever]) -> Recipe:
    for lever in levers:
        recipe = changed(recipe, lever.key, lever.on)
    return recipe


def tried(stage: Stage, catalog: Catalog, clock: Clock = perf_counter) -> Iterator[Tried]:
    """Each lever that the recipe does not pull, then those together that won.

    Raises InputError where the data or a network are missing.
    """
    compiled.keep(cache())  # what is compiled for the trial serves the run
    with ready(stage, catalog) as recipe:
        period, state = warm(recipe, catalog)
        before = clock()
        some(state, period)
        # As many periods as a clock can tell apart, and the same for all.
        n = period * max(1, round(LONG / max(clock() - before, 1e-6)))
        plain = partial(some, state, n)
        # Of this device: what lies with the host takes nothing of a GPU, and of a CPU as much as ever.
        here = changed(stage.chained, "run.device", pick_device(recipe.run.device).type)
        bytes_plain = peak(stage, here, catalog)

        def one(levers: tuple[Lever, ...]) -> Tried:
            try:
                _, with_it = warm(pulled(recipe, levers), catalog)
            except Exception as error:
                known = explained(error)
                if known is None:
                    raise
                return Tried(levers=levers, refused=_short(known, levers))
            found = alternating(partial(some, with_it, n), plain, PAIRS, SECONDS, clock=clock)
            taken = peak(stage, pulled(here, levers), catalog)
            memory = taken / bytes_plain if taken and bytes_plain else None
            return Tried(levers=levers, time=ratio(found), memory=memory)

        found = []
        for lever in [lever for lever in LEVERS if not lever.pulled(recipe)]:
            found.append(one((lever,)))
            yield found[-1]
        winners = tuple(lever for each in found if each.time and each.time.wins for lever in each.levers)
        if len(winners) > 1:
            yield one(winners)


def best(found: Sequence[Tried]) -> Tried | None:
    """The fastest of those that win; None: the recipe is fastest as it is."""
    won = [each for each in found if each.time is not None and each.time.wins]
    return min(won, key=lambda each: each.time.median if each.time else 1.0, default=None)


def warm(recipe: Recipe, catalog: Catalog) -> tuple[int, State]:
    """Build the recipe and let it run a little -> iterations from one rarest turn to the next, and the state."""
    state = build(recipe, catalog)
    state.nimg = state.total // 2  # late enough for turns and losses that wait
    period = max(turn.every for turn in state.turns)
    some(state, max(WARM_UP, period))
    return period, state


def some(state: State, iterations: int) -> None:
    for _ in range(iterations):
        iterate(state)
    if state.device.type == "cuda":
        torch.cuda.synchronize()


def peak(stage: Stage, recipe: Recipe, catalog: Catalog) -> float | None:
    """Bytes alive at most, as `plan` counts them."""
    run = recipe.run
    try:
        with blank() as live:
            state = dry.build(recipe, stage.cards, catalog, live)
            return dry.small(state, live, run.batch, run.micro_batch or run.batch).largest.peak
    except (NotImplementedError, DistillkitError):
        return None


def _short(error: DistillkitError, levers: Sequence[Lever]) -> str:
    """Why, in a line, without the key that the line begins with."""
    return " ".join(str(error).removeprefix(f"{levers[0].key}: ").split())
