"""Pixels in other coordinates: bands of frequencies, and averages of several sizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillkit.api import Embedding, UsageError, and_, field, frozen, ge, le, min_len


def dct(n: int) -> Tensor:
    """The orthonormal DCT-II [n,n]: row k is the cosine of frequency k."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    rows = torch.cos(math.pi * k * (i + 0.5) / n) * math.sqrt(2 / n)
    rows[0] /= math.sqrt(2)
    return rows


class Band(nn.Module):
    """Coefficients of images [N,C,H,H] whose frequency is within a band -> [N,D]."""

    basis: Tensor
    at: Tensor

    def __init__(self, side: int, low: float, high: float) -> None:
        super().__init__()
        self.register_buffer("basis", dct(side).float())
        k = torch.arange(side) / max(side - 1, 1)
        frequency = torch.maximum(k[:, None], k)  # 0 (the mean) ... 1 (from pixel to pixel)
        self.register_buffer("at", ((frequency >= low) & (frequency <= high)).flatten().nonzero()[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        return (self.basis @ x @ self.basis.T).flatten(2).index_select(2, self.at).flatten(1)


class Bands(Embedding):
    """The coefficients of a cosine transform, of a band of frequencies; of all of them: pixels turned."""

    @frozen(kw_only=True)
    class Config:
        low: float = field(default=0.0, validator=and_(ge(0), le(1)))  # 0: the mean
        high: float = field(default=1.0, validator=and_(ge(0), le(1)))  # 1: from pixel to pixel

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        band = Band(resolution, self.config.low, self.config.high)
        if not len(band.at):
            raise UsageError(f'embedding "bands": no frequency is within {self.config.low:g} ... {self.config.high:g}')
        return band.eval()


class Averages(nn.Module):
    """Images [N,C,H,W] averaged over squares of several sides, next to each other -> [N,D]."""

    def __init__(self, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        # Times the side: each scale has its part of an orthonormal transform, so coarse ones count again at each.
        return torch.cat([side * F.avg_pool2d(x, side).flatten(1) for side in self.sides], 1)


class Pyramid(Embedding):
    """Pixels, and averages over squares of them."""

    @frozen(kw_only=True)
    class Config:
        sides: tuple[int, ...] = field(default=(1, 2, 4), validator=min_len(1))  # of the squares, pixels

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        return Averages(self.config.sides).eval()
