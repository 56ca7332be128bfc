"""The image itself as its embedding."""

from __future__ import annotations

from torch import nn

from distillkit.api import Embedding, field, frozen, ge
from distillkit_embeddings.layers import Pool


class Pixels(Embedding):
    """The pixels themselves, at most `max_px` a side: no network, and strong on tiny images."""

    @frozen(kw_only=True)
    class Config:
        max_px: int = field(default=32, validator=ge(1))  # pixels a side

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        small = [Pool(resolution, self.config.max_px)] if resolution > self.config.max_px else []
        return nn.Sequential(*small, nn.Flatten()).eval()
