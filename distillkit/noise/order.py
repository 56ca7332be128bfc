"""The order of data: an endless one, reshuffled every epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.noise.counters import fold


def shuffled(seed: int, stream: str, first: int, n: int, size: int) -> Tensor:
    """Entries first ... first+n-1 of an endless order over `size` items, reshuffled every epoch -> int64 [n]."""
    parts = []
    while n > 0:
        epoch, at = divmod(first, size)
        generator = torch.Generator().manual_seed(fold(seed, stream, "epoch", epoch))
        part = torch.randperm(size, generator=generator)[at : at + n]
        parts.append(part)
        first, n = first + len(part), n - len(part)
    return torch.cat(parts)
