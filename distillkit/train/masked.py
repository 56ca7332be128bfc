"""The masks of dropout of one pass over some rows of the global batch."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch

from distillkit import noise

if TYPE_CHECKING:
    from distillkit.train.state import State


def seed_masks(state: State, first: int, n: int, *parts: int | str) -> AbstractContextManager[None]:
    """Inside, `noise.dropout` makes the masks of rows first ... first+n-1 of the global batch, for a pass of that name.

    They are a function of seed, images seen and `parts`, whichever rows stand beside.
    """
    seed = noise.fold(state.seed, state.nimg, *parts)
    # For networks that draw from torch's own generators; torch.manual_seed asks every kind of device, for 0.1 ms.
    torch.default_generator.manual_seed(seed + first)
    if state.device.type in ("cuda", "xpu"):
        getattr(torch, state.device.type).manual_seed(seed + first)
    return noise.masks(seed, first, n, state.device)
