"""How far a number of n images would move with other images: the standard error by the infinitesimal jackknife.

Give image i a weight a little above 1/n and a metric moves by its influence h_i; the metric's variance over samples is
that of a mean of the h_i (Jaeckel 1972). For a mean the influences are the values themselves. Images in fixed
proportions of classes vary within their classes alone, so influences count from their stratum's mean.
"""

from __future__ import annotations

import torch
from torch import Tensor


def standard_error(influence: Tensor, groups: Tensor | None = None, shares: Tensor | None = None) -> float:
    """Of a metric with `influence` [n] of each image, of strata `groups` [n] with `shares` [S] of the distribution.

    Without `shares`: those of the sample. A stratum of one image says nothing of its spread and counts as 0.
    """
    h = influence.double().cpu()
    groups = torch.zeros(len(h), dtype=torch.int64) if groups is None else groups
    sizes = torch.bincount(groups, minlength=0 if shares is None else len(shares)).double()
    shares = sizes / len(h) if shares is None else shares
    mean = torch.zeros_like(sizes).index_add_(0, groups, h) / sizes.clamp(min=1)
    squares = torch.zeros_like(sizes).index_add_(0, groups, (h - mean[groups]).square())
    return float((shares.square() * squares / (sizes * (sizes - 1)).clamp(min=1)).sum().sqrt())
