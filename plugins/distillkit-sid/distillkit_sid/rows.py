"""Images with a NaN, as the authors' code treats them: left out of the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.api import State


def finite_rows(state: State, drop: bool, x: Tensor, *outputs: Tensor) -> tuple[list[Tensor], Tensor]:
    """The same tensors and keep [N]; `drop` zeroes each row that has a NaN in any, and its gradient at x."""
    keep = torch.ones(len(x), dtype=torch.bool, device=x.device)
    if not drop:
        return [x, *outputs], keep
    for t in (x, *outputs):
        keep &= ~t.isnan().flatten(1).any(1)
    state.record("dropped_images", (~keep).sum() * (state.batch / len(x)))  # of a batch, of which this is a part
    rows = (~keep).view(-1, 1, 1, 1)
    if x.requires_grad:  # the networks' derivatives may be NaN there, and 0 * NaN is NaN
        x.register_hook(lambda grad: grad.masked_fill(rows, 0))
    return [t.masked_fill(rows, 0) for t in (x, *outputs)], keep
