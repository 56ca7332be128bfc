"""Parallel branches that look through windows of different sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillkit.api import Embedding, field, frozen, ge
from distillkit_embeddings.layers import Pool, frozen_module

KERNELS = (1, 3, 5, 7)  # pixels


class MultiScale(Embedding):
    """Random multi-scale CNN: windows of 1, 3, 5 and 7 pixels side by side (arXiv:2604.22379)."""

    tiny = {"width": 8}

    @frozen(kw_only=True)
    class Config:
        width: int = field(default=8, validator=ge(1))  # channels of each branch

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        return frozen_module(lambda: Branches(resolution, channels, self.config.width), seed)


class Branches(nn.Module):
    """x [N,C,H,W] -> [N, 4 * width * GRID^2].

    Each branch is conv, norm, ReLU, conv, norm, ReLU. All of them are computed as one, in groups: the windows of the
    first layer within the largest, with zeros around.
    """

    def __init__(self, resolution: int, channels: int, width: int) -> None:
        super().__init__()
        branches = [(nn.Conv2d(channels, width, size), nn.Conv2d(width, width, 3)) for size in KERNELS]
        first, second = zip(*branches, strict=True)
        largest, every = max(KERNELS), len(KERNELS) * width
        self.convs = nn.ModuleList(
            (
                side_by_side(nn.Conv2d(channels, every, largest, padding=largest // 2), first),
                side_by_side(nn.Conv2d(every, every, 3, stride=2, padding=1, groups=len(KERNELS)), second),
            )
        )
        self.norms = nn.ModuleList(nn.GroupNorm(len(KERNELS), every) for _ in self.convs)
        self.pool = Pool((resolution + 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu_()
        features: Tensor = self.pool(x).flatten(1)
        return features


@torch.no_grad()
def side_by_side(whole: nn.Conv2d, parts: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """`whole` with the weights of all parts, one after the other; smaller windows lie in the middle."""
    sides = [(whole.kernel_size[0] - part.kernel_size[0]) // 2 for part in parts]
    around = [F.pad(part.weight, [side] * 4) for part, side in zip(parts, sides, strict=True)]
    whole.weight.copy_(torch.cat(around))
    for to, part in zip(cast(Tensor, whole.bias).chunk(len(parts)), parts, strict=True):
        to.copy_(cast(Tensor, part.bias))
    return whole
