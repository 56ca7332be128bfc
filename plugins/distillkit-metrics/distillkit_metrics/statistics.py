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
    features = _finite(features).cpu()
    _check_enough(len(features), ddof)
    mean = features.mean(0)
    centered = features - mean
    return Moments(mean, centered.T @ centered / (len(features) - ddof))


class Sums:
    """Running sums of features in float64: the moments of more images than are ever held at once."""

    def __init__(self, count: int = 0, first: Tensor | float = 0.0, second: Tensor | float = 0.0) -> None:
        self.count, self.first, self.second = count, first, second  # images, sum of f [D], sum of f f^T [D,D]

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.count + other.count, self.first + other.first, self.second + other.second)

    def add(self, features: Tensor) -> None:
        """Count features [n,D] in. Raises InputError when one is not finite."""
        f = _finite(features)
        self.count, self.first, self.second = self.count + len(f), self.first + f.sum(0), self.second + f.T @ f

    def moments(self, ddof: int = 1) -> Moments:
        """(F^T F - N m m^T) / (N - ddof), as EDM's code; `ddof` as above. Raises InputError for too few images."""
        _check_enough(self.count, ddof)
        mean = self.first / self.count
        return Moments(mean.cpu(), ((self.second - self.count * mean.outer(mean)) / (self.count - ddof)).cpu())


def _finite(features: Tensor) -> Tensor:
    bad = int((~features.isfinite()).any(1).sum())
    if bad:
        raise InputError(
            f"{bad} of {len(features)} images have non-finite features; a Frechet distance needs all finite"
        )
    return features.double()


def _check_enough(n: int, ddof: int) -> None:
    if n <= ddof:
        raise InputError(f"a covariance over N-{ddof} needs more than {ddof} images; got {n}")


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
