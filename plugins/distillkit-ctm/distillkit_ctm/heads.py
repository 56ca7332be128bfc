"""The part of the discriminator that trains: a small convolutional head on each map of its frozen features."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Heads(nn.Module):
    """Maps [N,c_i,h_i,w_i] and labels [N,L] -> logits [N,K_i] of each."""

    def __init__(self, channels: Sequence[int], width: int, label_dim: int) -> None:
        """`channels`: c_i; `label_dim`: L, 0 without labels."""
        super().__init__()
        self.heads = nn.ModuleList(Head(c, width, label_dim) for c in channels)

    def forward(self, maps: Sequence[Tensor], labels: Tensor | None) -> list[Tensor]:
        return [head(m, labels) for head, m in zip(self.heads, maps, strict=True)]


class Head(nn.Module):
    """Two convolutions, the first of which halves large maps; its norm is of each image, not of the batch.

    With labels a logit is the product of a place's features with what the label asks for (arXiv:1802.05637).
    """

    def __init__(self, channels: int, width: int, label_dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, 2, 1)
        self.norm = nn.GroupNorm(1, width)
        self.last = nn.Conv2d(width, 1, 1)
        self.label = nn.Linear(label_dim, width, bias=False) if label_dim else None

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        h = nn.functional.leaky_relu(self.norm(self.first(x)), 0.2)
        logits: Tensor = self.last(h)
        if self.label is not None and labels is not None:
            logits = logits + (h * self.label(labels)[:, :, None, None]).mean(1, keepdim=True)
        return logits.flatten(1)
