"""What labels do in the comparison: nothing, a further coordinate, or one comparison per class."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Distance(Protocol):
    """Squared MMD of fake [N,D] and real [M,D] with squared bandwidth s2 [] -> []."""

    def __call__(self, fake: Tensor, real: Tensor, *, s2: Tensor) -> Tensor: ...


def joint(
    mmd: Distance, fake: Tensor, real: Tensor, s2: Tensor, fake_labels: Tensor, real_labels: Tensor, beta: float
) -> Tensor:
    """MMD of (features, labels) pairs: one-hot labels [N,L], [M,L] as coordinates -> [].

    They are scaled by beta * sqrt(s2), so images of different classes are 2 beta^2 squared bandwidths further apart.
    """
    scale = beta * s2.sqrt()
    return mmd(torch.cat([fake, scale * fake_labels], 1), torch.cat([real, scale * real_labels], 1), s2=s2)


def per_class(
    mmd: Distance, fake: Tensor, real: Tensor, s2: Tensor, fake_labels: Tensor, real_labels: Tensor, fewest: int
) -> Tensor:
    """MMD class by class, weighted by the generated images in it -> []; classes below `fewest` rows are left out."""
    fake_class, real_class = fake_labels.argmax(1), real_labels.argmax(1)
    total, counted = fake.sum() * 0, 0  # a zero that reaches fake: this batch may hold no class twice
    for label, n in enumerate(fake_class.bincount().tolist()):
        ours, theirs = fake_class == label, real_class == label
        if n >= fewest and int(theirs.sum()) >= fewest:
            total, counted = total + n * mmd(fake[ours], real[theirs], s2=s2), counted + n
    return total / max(counted, 1)
