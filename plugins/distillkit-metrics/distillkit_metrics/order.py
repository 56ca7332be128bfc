"""Which images a metric takes, and in which order: that of 0.1, whose numbers stand."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.noise import fold


def shuffled(seed: int, stream: str, first: int, n: int, size: int) -> Tensor:
    """Entries first ... first+n-1 of an endless order over `size` items, reshuffled every epoch -> int64 [n]."""
    # Not noise.shuffled: another choice of real images is another number for the same student, and the classifier
    # would be trained to other weights. It makes whole permutations, which costs nothing beside a feature network.
    parts = []
    while n > 0:
        epoch, at = divmod(first, size)
        generator = torch.Generator().manual_seed(fold(seed, stream, "epoch", epoch))
        part = torch.randperm(size, generator=generator)[at : at + n]
        parts.append(part)
        first, n = first + len(part), n - len(part)
    return torch.cat(parts)
