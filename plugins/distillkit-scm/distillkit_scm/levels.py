"""Noise levels of training: a log-normal distribution, cut at both ends."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def truncated_lognormal(u: Tensor, P_mean: float, P_std: float, low: float, high: float) -> Tensor:
    """sigma with ln sigma ~ N(P_mean, P_std^2) between low and high, of uniform u [...] in [0,1); in u's dtype.

    By the inverse of the distribution function, in float64: at its ends float32 has few digits.
    """
    a, b = ends(P_mean, P_std, low, high)
    x = torch.special.ndtri(a + u.double() * (b - a))
    sigma: Tensor = (P_mean + P_std * x).exp()
    return sigma.clamp(low, high).to(u.dtype)


def ends(P_mean: float, P_std: float, low: float, high: float) -> tuple[float, float]:
    """Shares of the distribution that are below its two cuts."""
    a, b = (math.erfc((P_mean - math.log(end)) / (P_std * math.sqrt(2))) / 2 for end in (low, high))
    return a, b


def noise_share(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor]:
    """sin^2 theta, cos^2 theta of TrigFlow's angle, theta = arctan(sigma / sigma_data)."""
    total = sigma**2 + sigma_data**2
    return sigma**2 / total, sigma_data**2 / total


def rise(nimg: int, kimg: float) -> float:
    """From 0 to 1 within the first `kimg`; infinite: 0 for good."""
    return min(1.0, nimg / (kimg * 1000)) if kimg else 1.0


def shifted(u: Tensor, shift: float) -> Tensor:
    """tan(theta) of times shift u / (1 + (shift - 1) u) on a straight path; above 0, where u may be 0."""
    return (shift * u / (1 - u)).clamp(min=1e-4)
