"""The embeddings of a run: drawn from its seed, again in every round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from distillkit import noise
from distillkit.api import Choice, Dataset, Embedding


def draw(
    embeddings: Sequence[Choice[Embedding]], copies: int, dataset: Dataset, seed: int, round: int
) -> Iterator[tuple[str, nn.Module]]:
    """Name and network of `copies` of each embedding, every one from a seed of its own."""
    for i, choice in enumerate(embeddings):
        for copy in range(copies):
            own = noise.fold(seed, "embedding", choice.name, i, copy, round)
            yield choice.name, choice.build().module(dataset.resolution, dataset.channels, own)


class UnitLength(nn.Module):
    """Features [N,D] on the unit sphere."""

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(features)
