"""One iteration: its turns, the average of the weights, the count of images."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from distillkit.api import Turn
from distillkit.train import ema, turns
from distillkit.train.state import State


def average(state: State, skipped: list[Tensor]) -> None:
    """Move the average of the weights, in an iteration in which it moves; `skipped`: of turns that did nothing."""
    settings, images = state.recipe.generator, state.batch * state.recipe.generator.ema_every
    if (state.iteration + 1) % settings.ema_every:
        return
    share = ema.beta(settings, state.nimg + state.batch - images, images)
    # It moves if any of them did something, or one of those before.
    stays = torch.stack(skipped).all() if skipped and settings.ema_every == 1 else None
    ema.update(state.average, state.networks["generator"], share, stays)


def iterate(state: State) -> None:
    """One iteration: every turn that is due, the average of the weights, the count of images."""
    # These came from the weights of before the last update.
    state.made.clear()
    skipped: list[Tensor] = []  # of the turns that train the generator
    for turn in state.turns:
        if due(state, turn):
            skip = turns.take(state, turn)
            skipped += [skip] if "generator" in turn.trains else []
    average(state, skipped)
    for kept in state.copies.values():
        if kept.average is not None and (share := kept.average()) < 1:
            ema.update(kept.module, cast(nn.Module, state.average) if kept.of is None else kept.of, share)
    state.hook.after_step(state=state)
    # Last: everything random in this iteration was numbered from the images seen before it.
    state.nimg += state.batch
    state.iteration += 1


def due(state: State, turn: Turn) -> bool:
    """Whether the turn takes place in this iteration."""
    later = state.iteration - turn.first
    stopped = turn.stop_kimg is not None and state.nimg >= turn.stop_kimg * 1000
    return later >= 0 and later % turn.every == 0 and state.nimg >= turn.start_kimg * 1000 and not stopped
