"""The embeddings of a run: drawn from its seed, again in every round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillkit import noise
from distillkit.api import Choice, Embedding


def draw(
    embeddings: Sequence[Choice[Embedding]], copies: int, resolution: int, channels: int, seed: int, round: int
) -> Iterator[tuple[str, nn.Module]]:
    """Name and network of `copies` of each embedding, every one from a seed of its own."""
    for i, choice in enumerate(embeddings):
        for copy in range(copies):
            own = noise.fold(seed, "embedding", choice.name, i, copy, round)
            yield choice.name, choice.build().module(resolution, channels, own)


class InBfloat16(nn.Module):
    """A network whose layers run in bfloat16, from and to float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            features: Tensor = self.net(x)
        return features.to(x.dtype)


class UnitLength(nn.Module):
    """Features [N,D] on the unit sphere."""

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features)
