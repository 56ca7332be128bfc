"""Means, covariances and the Frechet distance between Gaussians, all in float64."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distillkit.api import InputError


class Moments(NamedTuple):
    """Mean [D] and covariance [D,D], float64."""

    mean: Tensor
    cov: Tensor


def moments(features: Tensor, ddof: int = 1) -> Moments:
    """Mean and covariance of features [N,D]; ddof=1 divides by N-1 (EDM), ddof=0 by N (StyleGAN).

    Raises InputError when a feature is not finite or there are not more than `ddof` rows.
    """
    features = features.double().cpu()
    bad = int((~features.isfinite()).any(1).sum())
    if bad:
        raise InputError(
            f"{bad} of {len(features)} images have non-finite features; a Frechet distance needs all finite"
        )
    if len(features) <= ddof:
        raise InputError(f"a covariance over N-{ddof} needs more than {ddof} images; got {len(features)}")
    mean = features.mean(0)
    centered = features - mean
    return Moments(mean, centered.T @ centered / (len(features) - ddof))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A B)^(1/2)). Source: arXiv:1706.08500, Eq. (6).

    The trace of (A B)^(1/2) is the sum of the roots of the eigenvalues of the symmetric A^(1/2) B A^(1/2); rounding
    makes the smallest ones of a singular covariance slightly negative, so they are clipped at 0.
    """
    values, vectors = torch.linalg.eigh(a.cov)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    product = root @ b.cov @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    return float((a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * cross)


def principal_axes(features: Tensor, k: int) -> Tensor:
    """The k directions of largest variance of features [N,D], as columns [D,min(k,D)], float64."""
    _, vectors = torch.linalg.eigh(moments(features).cov)
    return vectors.flip(1)[:, :k]
