"""Averages of the generator's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distillkit.api import Denoiser
from distillkit.recipe.schema import Generator
from distillkit.train.ranks import pieces
from distillkit.train.shared import Shared

if TYPE_CHECKING:
    from distillkit.train.state import State


def beta(settings: Generator, nimg: int, batch: int) -> float:
    """Share of the old average that stays, for the step that starts at `nimg` images.

    "halflife": arXiv:2206.00364's code, h = min(halflife, rampup * nimg), beta = 0.5^(batch/h): step 1 copies.
    "power": arXiv:2312.02696 Eq. (127), beta = (1 - batch / t)^(gamma + 1) at t images after the step.
    """
    if settings.ema == "none":
        return 0.0
    if settings.ema == "power":
        return float((1 - batch / (nimg + batch)) ** (settings.ema_gamma + 1))
    halflife = settings.ema_halflife_kimg * 1000
    if settings.ema_rampup_ratio is not None:
        halflife = min(halflife, settings.ema_rampup_ratio * nimg)
    # At 0 images the half-life is 0: 0.5^(batch / tiny) = 0, the average starts as a copy.
    return float(0.5 ** (batch / max(halflife, 1e-8)))


@torch.no_grad()
def show(state: State) -> None:
    """Make `state.ema`, which is drawn with, what the average is now; all ranks that share it call this together."""
    if state.average is not state.ema:
        pairs = zip(state.ema.state_dict().values(), state.average.state_dict().values(), strict=True)
        for whole, piece in pairs:
            whole.copy_(pieces.whole(piece))


@torch.no_grad()
def update(ema: nn.Module | Denoiser, network: nn.Module, beta: float, skipped: Tensor | None = None) -> None:
    """ema <- beta * ema + (1 - beta) * network, parameters only: buffers stay as they were copied.

    skipped, bool []: True leaves the average as it is.
    """
    # Pieces that are here, where ranks share the networks: an average of pieces is a piece of the average.
    pairs = [(m, p) for m, p in zip(ema.parameters(), network.parameters(), strict=True) if not isinstance(p, Shared)]
    if not pairs:
        return None
    means, weights = ([pieces.local(tensor) for tensor in part] for part in zip(*pairs, strict=True))
    if means[0].device.type != weights[0].device.type:
        return _beside(means, weights, 1 - beta, skipped)
    if skipped is None:
        torch._foreach_lerp_(means, weights, 1 - beta)
    else:
        # A weight of 0 in place of an `if`, which would wait to hear whether the update was skipped.
        torch._foreach_lerp_(means, weights, [(~skipped).to(means[0].dtype) * (1 - beta)] * len(means))


def _beside(means: list[Tensor], weights: list[Tensor], share: float, skipped: Tensor | None) -> None:
    """The same for means in the memory of the host: each comes to the device, and goes back."""
    # On the device, not here: the CPU would have to wait for the weights, and for the word that they were not skipped.
    by = share if skipped is None else (~skipped).to(weights[0].dtype) * share
    for mean, weight in zip(means, weights, strict=True):
        # One after the other: the device holds one more tensor of the network, not one more network.
        here = mean.to(weight.device, non_blocking=True)
        mean.copy_(here.lerp_(weight, by), non_blocking=True)
