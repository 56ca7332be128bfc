"""Parallel branches that look through windows of different sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distillkit.api import Embedding, field, frozen, ge
from distillkit_embeddings.layers import Pool, frozen_module, norm

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
    """x [N,C,H,W] -> [N, 4 * width * GRID^2]."""

    def __init__(self, resolution: int, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, kernel, padding=kernel // 2), norm("group", width), nn.ReLU(),
                nn.Conv2d(width, width, 3, stride=2, padding=1), norm("group", width), nn.ReLU(),
            )
            for kernel in KERNELS
        )  # fmt: skip
        self.pool = Pool((resolution + 1) // 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.pool(branch(x)).flatten(1) for branch in self.branches], 1)
