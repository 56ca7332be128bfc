"""Precision, recall, density and coverage: nearest-neighbour balls around images in feature space."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.api import InputError

ROWS = 2048  # rows of a distance matrix held at once


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances [n,m] from differences: exact zeros for equal rows, unlike the |a|^2+|b|^2-2ab way."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def radii(points: Tensor, k: int) -> Tensor:
    """Distance [N] of each of the points [N,D] to its k-th nearest other point."""
    if len(points) <= k:
        raise InputError(f"distances to {k} neighbours need more than {k} images; got {len(points)}")
    parts = points.split(ROWS)
    return torch.cat([_distances(part, points).kthvalue(k + 1, dim=1).values for part in parts])  # + 1: itself


def _share_inside(centers: Tensor, radius: Tensor, probes: Tensor) -> float:
    inside = [(_distances(part, centers) <= radius).any(1) for part in probes.split(ROWS)]
    return float(torch.cat(inside).double().mean())


def precision_recall(real: Tensor, fake: Tensor, k: int = 3, known: Tensor | None = None) -> tuple[float, float]:
    """Share of fake [M,D] in the balls around real [N,D], and the reverse; `known`: radii(real, k) [N].

    Source: arXiv:1904.06991, Eq. (1)-(2).
    """
    real, fake = real.double(), fake.double()
    known = radii(real, k) if known is None else known
    return _share_inside(real, known, fake), _share_inside(fake, radii(fake, k), real)


def density_coverage(real: Tensor, fake: Tensor, k: int = 5, known: Tensor | None = None) -> tuple[float, float]:
    """Mean number of real balls around a fake image over k, and share of real balls that hold a fake image.

    Balls are open, so that a copy of the real images has density 1, not (k+1)/k; `known`: radii(real, k) [N].
    Source: arXiv:2002.09797, Eq. (3)-(4).
    """
    real, fake = real.double(), fake.double()
    known = radii(real, k) if known is None else known
    counts = []  # of fake images in each real ball
    for part, radius in zip(real.split(ROWS), known.split(ROWS), strict=True):
        counts.append((_distances(part, fake) < radius[:, None]).sum(1))
    held = torch.cat(counts).double()
    return float(held.sum() / (k * len(fake))), float((held > 0).double().mean())
