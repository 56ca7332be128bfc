"""A small pre-activation residual network."""

from __future__ import annotations

from torch import Tensor, nn

from distillkit.api import Embedding, field, frozen, ge
from distillkit_embeddings.layers import Halve, Pool, channels_last, frozen_module, norm


class Residual(Embedding):
    """Random residual network: pre-activation blocks, pooled in between (arXiv:2604.22379)."""

    tiny = {"width": 32}

    @frozen(kw_only=True)
    class Config:
        width: int = field(default=32, validator=ge(1))  # channels
        depth: int = field(default=3, validator=ge(1))  # residual blocks

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        return frozen_module(lambda: self._build(resolution, channels), seed)

    def _build(self, side: int, channels: int) -> nn.Module:
        width = self.config.width
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(self.config.depth):  # pooled before the block: a quarter of the cost, and it sees twice as far
            halve = Halve(side)
            layers += [halve, Block(width)]
            side = halve.side
        return channels_last(nn.Sequential(*layers, Pool(side), nn.Flatten()))


class Block(nn.Module):
    """x + conv(relu(norm(x))) on [N, width, H, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(norm("group", width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = x + self.branch(x)
        return h
