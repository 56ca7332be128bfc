"""Means, covariances and the Frechet distance between Gaussians, all in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from distillkit.api import InputError
from distillkit_metrics.spread import standard_error
from distillkit_metrics.strata import split


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
        mean = torch.as_tensor(self.first / self.count)
        return Moments(mean.cpu(), ((self.second - self.count * mean.outer(mean)) / (self.count - ddof)).cpu())


def _finite(features: Tensor) -> Tensor:
    if features.is_meta:  # of no content: nothing to find in it
        return features.double()
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
    root = _root(a.cov)
    product = root @ b.cov @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    return float((a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace() - 2 * cross)


def distance_of(features: Tensor, real: Moments, groups: Tensor | None = None) -> tuple[float, float]:
    """Frechet distance of features [N,D] to `real`, and its standard error over images of strata `groups` [N].

    With T the optimal map between the two Gaussians (the derivative of 2 tr (A B)^(1/2) by B), the influence of x is
    2 (mu_x - mu_real).(x - mu_x) + (x - mu_x)^T (1 - T) (x - mu_x) less its mean. Near distance 0 the error comes out
    too large, by 1.4.
    """
    own = moments(features)
    distance, half = _distance_and_map(own, real)
    centered, shift = features.double().cpu() - own.mean, own.mean - real.mean
    influence = 2 * centered @ shift + centered.square().sum(1) - (centered @ half).square().sum(1)
    return distance, standard_error(influence, groups)


def distance_of_parts(parts: Sequence[Sums], real: Moments, ddof: int = 1) -> tuple[float, float]:
    """The same of images that only their sums are known of, in parts of equal size: the error is over parts."""
    own = sum(parts, Sums()).moments(ddof)
    distance, half = _distance_and_map(own, real)
    change = torch.eye(len(half), dtype=half.dtype) - half @ half.T
    shift = own.mean - real.mean
    influence = []
    for part in parts:
        apart = part.moments(0)
        off = apart.mean - own.mean
        influence.append(2 * off @ shift + ((apart.cov + off.outer(off)) * change).sum())
    return distance, standard_error(torch.stack(influence))


def _distance_and_map(own: Moments, real: Moments) -> tuple[float, Tensor]:
    """The Frechet distance, and H [D,r] with T = H H^T the optimal map from `own` to `real`.

    Where the covariance is singular T is taken on its range, which no weights of the images leave.
    """
    root = _root(real.cov)
    values, vectors = torch.linalg.eigh(root @ own.cov @ root)
    roots = values.clamp(min=0).sqrt()
    kept = values > values[-1] * len(values) * 10 * torch.finfo(values.dtype).eps
    distance = (own.mean - real.mean).square().sum() + own.cov.trace() + real.cov.trace() - 2 * roots.sum()
    return float(distance), root @ vectors[:, kept] / roots[kept].sqrt()


def extrapolated(features: Tensor, real: Moments, groups: Tensor, halvings: int = 10) -> float:
    """The Frechet distance of infinitely many such images: the bias of N falls as 1/N (arXiv:1911.07023).

    Twice the distance of all less the mean of halves, drawn `halvings` times in the proportions of `groups` [N].
    """
    generator, n = torch.Generator().manual_seed(0), len(features) // 2
    halves = [half for _ in range(halvings) for half in split(groups, n, n, generator)]
    distances = [frechet_distance(real, moments(features[half])) for half in halves]
    whole = frechet_distance(real, moments(features))
    share = n / len(features)  # of the images in a half
    return (whole - share * sum(distances) / len(distances)) / (1 - share)


def _root(cov: Tensor) -> Tensor:
    """The symmetric root of a covariance [D,D]."""
    values, vectors = torch.linalg.eigh(cov)
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return root


def principal_axes(features: Tensor, k: int) -> Tensor:
    """The k directions of largest variance of features [N,D], as columns [D,min(k,D)], float64."""
    vectors: Tensor = torch.linalg.eigh(moments(features).cov)[1]
    return vectors.flip(1)[:, :k]
