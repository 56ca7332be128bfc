"""Kernel Inception distance on any features."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.api import InputError

ROWS = 4096  # rows of a Gram matrix held at once


def _kernel_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum over all pairs of (<a,b>/D + 1)^3."""
    return torch.stack([((part @ b.T / b.shape[1] + 1) ** 3).sum() for part in a.split(ROWS)]).sum()


def kid(real: Tensor, fake: Tensor) -> float:
    """Unbiased squared MMD with the cubic kernel between features [N,D] and [M,D]; may be below 0.

    All pairs at once, not an average over subsets. Source: arXiv:1801.01401, section 4.
    """
    total = torch.zeros((), dtype=torch.float64)
    for side in (real.double(), fake.double()):
        if len(side) < 2:
            raise InputError(
                f"KID needs at least 2 images on each side; got {len(real)} real and {len(fake)} generated"
            )
        diagonal = ((side.square().sum(1) / side.shape[1] + 1) ** 3).sum()
        total += (_kernel_sum(side, side) - diagonal) / (len(side) * (len(side) - 1))
    return float(total - 2 * _kernel_sum(real.double(), fake.double()) / (len(real) * len(fake)))
