"""A recipe tried before anything runs, without numbers: built, sampled, a pass of each turn, all metrics set up."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import attrs
import pluggy
import torch

from distillkit.api import Choice, Evaluate, Hooks, InputError, Turn, UsageError
from distillkit.dry import parts
from distillkit.dry.build import build
from distillkit.dry.meta import DEVICE, Live, blank
from distillkit.dry.parts import Blank, Card
from distillkit.networks.network_file import Carded
from distillkit.recipe.checks import refuse_unmeasured
from distillkit.recipe.schema import Recipe, by_logged_name
from distillkit.registry import Catalog
from distillkit.train import turns
from distillkit.train.build import build_components
from distillkit.train.manager import manager
from distillkit.train.state import State
from distillkit.train.teacher import scaled

IMAGES = 2  # in a batch that has no micro-batches


def tried(recipe: Recipe, cards: Mapping[str, Card], catalog: Catalog) -> tuple[Card | None, list[str]]:
    """Try `recipe` -> the card of its student, and a line for each part of it that cannot do without numbers.

    Raises UsageError or InputError where a run would, some time. `cards` are of results that are not there yet.
    """
    manager(build_components(recipe))  # hooks: how many answer, and whether they are spelt right
    untried: list[str] = []
    images = parts.images(recipe, cards, catalog)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), blank() as live:
        warnings.simplefilter("ignore")
        made: list[State] = []
        attempt("its parts", lambda: made.append(build(recipe, images, cards, catalog)), live, untried)
        if not made:
            return None, untried
        for what, work in works(made[0], recipe):
            attempt(what, work, live, untried)
        return cast(Carded, made[0].generator).card, untried


def attempt(what: str, work: Callable[[], object], live: Live, untried: list[str]) -> None:
    """Do it; what fails without refusing, or after it was told made-up numbers, may not fail in a run: it is noted.

    Raises UsageError, too, for what Python cannot work out of a recipe's own numbers.
    """
    reads = live.reads
    try:
        work()
    except ArithmeticError as error:
        if live.reads == reads:
            raise UsageError(f"numbers that cannot be worked with ({error.args[-1]}): too large or small") from error
        untried.append(f"{what}: {type(error).__name__}")
    except Exception as error:
        if isinstance(error, UsageError | InputError) and live.reads == reads:
            raise
        reason = str(error).partition("\n")[0][:100]
        untried.append(f"{what}: {type(error).__name__}" + (f": {reason}" if reason else ""))


def works(state: State, recipe: Recipe) -> Iterator[tuple[str, Callable[[], object]]]:
    """What a run would do, and what it is called."""
    yield "sample", lambda: sample(state)
    micro = recipe.run.micro_batch or min(recipe.run.batch, max(IMAGES, recipe.group))
    batch = min(recipe.run.batch, IMAGES * micro) if recipe.run.micro_batch and recipe.auxiliary_loss else micro
    state.recipe = attrs.evolve(
        state.recipe, run=attrs.evolve(recipe.run, batch=batch, micro_batch=recipe.run.micro_batch)
    )
    state.nimg = max(state.total - batch, 0)  # all waiting is over
    for turn in state.turns:
        yield f"turn {turn.name!r}", lambda turn=turn: take(state, turn)  # type: ignore[misc]
    names = list(by_logged_name(recipe.evaluate))
    for i, choice in enumerate(recipe.evaluate):
        yield f"evaluate[{i}] {choice.name!r}", lambda i=i: set_up(recipe.evaluate[i], names[i], state)  # type: ignore[misc]


@torch.no_grad()
def sample(state: State) -> None:
    """Draw images of the average, as pictures and metrics do."""
    z = torch.empty(IMAGES, *state.dataset.shape, device=DEVICE, dtype=state.dtype)
    labels = state.dataset.labels(torch.arange(IMAGES, device=DEVICE))
    with state.generating(state.ema):
        state.hook.sample(state=state, z=z, labels=scaled(state, None if labels is None else labels.to(state.dtype)))


def take(state: State, turn: Turn) -> None:
    """The gradients of a turn; no optimizer steps, for its import alone takes a second."""
    with turns.training(state, turn):
        turns.gradients(state, turn)


def set_up(choice: Choice[Evaluate], name: str, state: State) -> None:
    """The hook `setup` of a metric, and whether it measures what `run.keep_best` asks of it."""
    hooks = pluggy.PluginManager("distillkit")
    hooks.add_hookspecs(Hooks)
    hooks.register(part := choice.build())
    with DEVICE:
        hooks.hook.setup(state=state)
        if cast(Blank, state.dataset).real is not None:  # of missing files nobody knows what they hold
            refuse_unmeasured(state.recipe.run.keep_best, name, part.measures(state))
