"""Precision, recall, density and coverage: nearest-neighbour balls around images in feature space."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.api import InputError
from distillkit_metrics.spread import standard_error

ROWS = 2048  # rows of a distance matrix held at once
Measured = dict[str, tuple[float, float]]  # value and standard error by name


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances [n,m] from differences: exact zeros for equal rows, unlike the |a|^2+|b|^2-2ab way."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def radii(points: Tensor, k: int) -> Tensor:
    """Distance [N] of each of the points [N,D] to its k-th nearest other point."""
    if len(points) <= k:
        raise InputError(f"distances to {k} neighbours need more than {k} images; got {len(points)}")
    parts = points.split(ROWS)
    return torch.cat([distances(part, points).kthvalue(k + 1, dim=1).values for part in parts])  # + 1: itself


class Inside:
    """Who lies in whose balls, counted over parts of the real images: booleans [n,M], real by generated."""

    def __init__(self, fakes: int, device: torch.device) -> None:
        self.by_fake = torch.zeros(fakes, dtype=torch.int64, device=device)  # pairs of each generated image
        self.alone = torch.zeros_like(self.by_fake)  # real images that have this one and no other
        self.met, self.reals = 0, 0  # real images that have any

    def add(self, pairs: Tensor) -> None:
        """Count a part [n,M] in."""
        count = pairs.sum(1)
        self.by_fake += pairs.sum(0)
        self.alone += torch.bincount(pairs[count == 1].int().argmax(1), minlength=len(self.alone))
        self.met, self.reals = self.met + int((count > 0).sum()), self.reals + len(pairs)

    def share_met(self, groups: Tensor | None) -> tuple[float, float]:
        """Share of real images that have any, which falls without an image by those that it alone met."""
        influence = self.alone.double() * len(self.alone) / self.reals
        return self.met / self.reals, standard_error(influence, groups)


def mean(values: Tensor, groups: Tensor | None) -> tuple[float, float]:
    """Mean of values [M], one for each generated image, and its standard error."""
    return float(values.double().mean()), standard_error(values, groups)


def compared(
    real: Tensor,
    fake: Tensor,
    k_precision: int = 3,
    k_coverage: int | None = None,
    known: dict[int, Tensor] | None = None,
    groups: Tensor | None = None,
) -> Measured:
    """Precision and recall of fake [M,D] beside real [N,D], and with `k_coverage` density and coverage.

    Precision: the share of fake in the balls around real, whose radius is the distance to the k-th neighbour; recall:
    the reverse (arXiv:1904.06991, Eq. 1-2). Density: the mean number of real balls around a fake image over k,
    coverage: the share of real balls that hold one (arXiv:2002.09797, Eq. 3-4); these balls are open, so that a copy
    of the real images has density 1, not (k+1)/k. `known`: radii(real, k) by k; `groups` [M]: strata of fake. The
    error of recall keeps the balls of the other images as they are.
    """
    real, fake = real.double(), fake.double()
    own = radii(fake, k_precision)
    around = dict(known or {})
    around |= {k: radii(real, k) for k in (k_precision, k_coverage) if k and k not in around}
    precise, recalled, covered = (Inside(len(fake), fake.device) for _ in range(3))
    for at in range(0, len(real), ROWS):
        part = slice(at, at + ROWS)
        d = distances(real[part], fake)
        precise.add(d <= around[k_precision][part, None])
        recalled.add(d <= own)
        if k_coverage:
            covered.add(d < around[k_coverage][part, None])
    found = {"precision": mean(precise.by_fake > 0, groups), "recall": recalled.share_met(groups)}
    if k_coverage:
        found |= {"density": mean(covered.by_fake.double() / k_coverage, groups), "coverage": covered.share_met(groups)}
    return found
