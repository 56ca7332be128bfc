"""A plain convolutional network: the embedding of dataset condensation."""

from __future__ import annotations

from torch import nn

from distillkit.api import Embedding, field, frozen, ge, in_
from distillkit_embeddings.layers import Halve, Pool, channels_last, frozen_module, norm


class ConvNet(Embedding):
    """Random plain CNN: blocks of conv, norm, ReLU, pool; norm "instance" is that of arXiv:2110.04181."""

    tiny = {"width": 32}

    @frozen(kw_only=True)
    class Config:
        width: int = field(default=32, validator=ge(1))  # channels; 128 in arXiv:2110.04181
        depth: int = field(default=3, validator=ge(1))  # residual blocks
        norm: str = field(default="group", validator=in_(("group", "instance")))
        """of the layers; "instance" is blind to contrast and colour"""

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        return frozen_module(lambda: self._build(resolution, channels), seed)

    def _build(self, side: int, channels: int) -> nn.Module:
        width, layers = self.config.width, []
        for block in range(self.config.depth):
            halve = Halve(side)
            conv = nn.Conv2d(width if block else channels, width, 3, padding=1)
            layers += [conv, norm(self.config.norm, width), nn.ReLU(inplace=True), halve]
            side = halve.side
        return channels_last(nn.Sequential(*layers, Pool(side), nn.Flatten()))
