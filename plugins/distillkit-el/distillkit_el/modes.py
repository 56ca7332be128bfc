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
    """MMD class by class, weighted by the generated images in it -> []; classes below `fewest` rows are left out.

    The labels are on the CPU: how many images a class has is known there without waiting for the device.
    """
    ours, theirs = (rows_by_class(labels) for labels in (fake_labels, real_labels))
    total, counted = fake.sum() * 0, 0  # a zero that reaches fake: this batch may hold no class twice
    for mine, other in zip(ours, theirs, strict=True):
        if min(len(mine), len(other)) >= fewest:
            at, to = (rows.to(fake.device, non_blocking=True) for rows in (mine, other))
            total, counted = total + len(mine) * mmd(fake[at], real[to], s2=s2), counted + len(mine)
    return total / max(counted, 1)


def rows_by_class(labels: Tensor) -> tuple[Tensor, ...]:
    """The rows of each class, ascending, of one-hot labels [N,L] on the CPU -> L times int64 [n]."""
    classes = labels.argmax(1)
    counts = classes.bincount(minlength=labels.shape[1]).tolist()
    rows: tuple[Tensor, ...] = classes.argsort(stable=True).split(counts)
    return rows
