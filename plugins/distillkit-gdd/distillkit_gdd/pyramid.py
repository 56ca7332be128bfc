"""Feature maps of a random convolutional network, the cheapest backbone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import Backbone, State, field, frozen, ge


class RandomPyramid(Backbone):
    """A frozen convolutional network of random weights: one map per scale, works with any images."""

    tiny = {"channels": 8}

    @frozen(kw_only=True)
    class Config:
        channels: int = field(default=32, validator=ge(1))  # of the finest map; doubles with every scale
        levels: int = field(default=4, validator=ge(1))  # feature maps at most; a map has 2 pixels or more
        seed: int = field(default=0, validator=ge(0))  # of its random weights, beside the run's seed

    def module(self, state: State) -> nn.Module:
        c, side = self.config, min(state.dataset.shape[1:])
        levels = 1
        while levels < c.levels and side >> levels >= 2:
            levels += 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(noise.fold(state.seed, "random-pyramid", c.seed))
            return Pyramid(state.dataset.shape[0], c.channels, levels)


class Pyramid(nn.Module):
    """x [N,C,H,W] -> maps [N, channels 2^i, H / 2^i, W / 2^i], finest first."""

    def __init__(self, in_channels: int, channels: int, levels: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        for i in range(levels):
            out = channels * 2**i
            first, second = nn.Conv2d(in_channels, out, 3, 2 if i else 1, 1), nn.Conv2d(out, out, 3, 1, 1)
            self.stages.append(nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2)))
            in_channels = out
        for p in self.parameters():  # He's variance keeps the scale of the maps
            nn.init.kaiming_normal_(p, 0.2) if p.ndim > 1 else nn.init.zeros_(p)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, labels: Tensor | None, randn_like: Callable[[Tensor], Tensor]) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
