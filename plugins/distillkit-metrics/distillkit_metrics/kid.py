"""Kernel Inception distance on any features, unbiased for images in fixed proportions of classes.

KID is E k(x,x') + E k(y,y') - 2 E k(x,y) with independent x, x' (arXiv:1801.01401). Where stratum a has the share w_a
of the images, E k(x,x') = sum_ab w_a w_b E k(x_a, x_b'). A sample with n_a images of each stratum, n_a fixed, has
n_a n_b independent pairs of strata a != b and n_a (n_a - 1) of a = b, so

    sum_ab w_a w_b mean of k over those pairs

has that expectation exactly. The usual mean over all pairs i != j of the sample has not: pairs of one stratum are too
rare in it by 1/n, and it comes out below 0 between samples of one distribution. With one stratum both are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distillkit.api import InputError
from distillkit_metrics.spread import standard_error

ROWS = 2048  # rows of a Gram matrix held at once


class Sample(NamedTuple):
    """Features [N,D] in float64, the stratum of each, int64 [N], and the share of each stratum, float64 [S]."""

    features: Tensor
    groups: Tensor
    shares: Tensor

    @classmethod
    def of(cls, features: Tensor, groups: Tensor | None = None, shares: Tensor | None = None) -> Sample:
        """Without `groups`: independent draws; without `shares`: those of the sample. Raises InputError."""
        groups = torch.zeros(len(features), dtype=torch.int64) if groups is None else groups
        sizes = torch.bincount(groups, minlength=0 if shares is None else len(shares))
        if len(features) < 2 or sizes[sizes > 0].min() < 2 or (shares is not None and (sizes[shares > 0] < 2).any()):
            raise InputError(
                f"KID needs at least 2 images of each stratum; got {sizes.tolist()[:20]} generated or real"
            )
        return cls(features.double().cpu(), groups, sizes.double() / sizes.sum() if shares is None else shares)

    @property
    def weights(self) -> Tensor:
        """What each image counts in a mean over the distribution, float64 [N]."""
        return (self.shares / torch.bincount(self.groups, minlength=len(self.shares)).clamp(min=1))[self.groups]


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    """(<a,b>/D + 1)^3 [n,m] of a [n,D], b [m,D]."""
    return (a @ b.T / b.shape[1] + 1) ** 3


def within(x: Sample) -> Tensor:
    """Estimate of E k(x_i, x') for each image [N], the image itself left out."""
    weights = x.weights
    others = (torch.bincount(x.groups, minlength=len(x.shares)) - 1).clamp(min=1)
    extra = (x.shares / others)[x.groups] - weights  # what pairs of one stratum count more than the others
    means = []
    for rows, groups, mine, more in zip(*(t.split(ROWS) for t in (x.features, x.groups, weights, extra)), strict=True):
        k = _kernel(rows, x.features)
        itself = (rows.square().sum(1) / rows.shape[1] + 1) ** 3
        stratum = (k * (groups[:, None] == x.groups)).sum(1) - itself
        means.append(k @ weights - mine * itself + more * stratum)
    return torch.cat(means)


def across(y: Sample, x: Sample) -> Tensor:
    """Estimate of E k(y_i, x) for each image of y [M]."""
    return torch.cat([_kernel(rows, x.features) @ x.weights for rows in y.features.split(ROWS)])


def kid(real: Sample, fake: Sample, known: float | None = None) -> tuple[float, float]:
    """KID and its standard error over the generated images; may be below 0. `known`: the mean of `within(real)`.

    All pairs at once, not an average over subsets, and not scaled by 1000.
    """
    known = float(real.weights @ within(real)) if known is None else known
    own, cross = within(fake), across(fake, real)
    value = known + float(fake.weights @ (own - 2 * cross))
    return value, standard_error(2 * (own - cross), fake.groups, fake.shares)
