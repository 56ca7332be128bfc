"""What the random networks share: seeded construction, norms that never look across the batch, exact pooling."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 4  # feature maps are handed out as GRID x GRID, whatever the resolution


def frozen_module(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A module whose weights depend on the seed alone, in eval mode, without parameter gradients."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return build().eval().requires_grad_(False)


def channels_last(net: nn.Module) -> nn.Module:
    """The same network on the layout that its convolutions and averages like best: up to half of the time."""
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch forgot it
    return net


def norm(how: str, width: int) -> nn.GroupNorm:
    """One group sees the whole image and keeps contrast between channels; "instance": each channel by itself."""
    return nn.GroupNorm(1 if how == "group" else width, width)


class Halve(nn.Sequential):
    """Average pooling by 2 that keeps odd edges, while at least GRID pixels remain; counts on in `side`."""

    def __init__(self, side: int) -> None:
        halved = (side + 1) // 2
        self.side = halved if halved >= GRID else side
        super().__init__(*([nn.AvgPool2d(2, ceil_mode=True)] if self.side != side else []))


class Pool(nn.Module):
    """Average of [N,C,side,side] over size x size windows: as matrices, so that its backward repeats bit for bit."""

    window: Tensor  # [size, side]

    def __init__(self, side: int, size: int = GRID) -> None:
        super().__init__()
        self.identity = side == size
        self.register_buffer("window", F.adaptive_avg_pool1d(torch.eye(side), size).T.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return x if self.identity else self.window @ x @ self.window.T
