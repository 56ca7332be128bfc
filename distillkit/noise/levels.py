"""Noise levels and their weights: the maths that every method shares."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO, SIGMA_DATA = 0.002, 80.0, 7.0, 0.5  # arXiv:2206.00364, Table 1


def rho_grid(u: Tensor, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO) -> Tensor:
    """Noise level at position u [...] of the Karras schedule; u=0 -> sigma_max, u=1 -> sigma_min.

    Source: arXiv:2206.00364, Eq. (5).
    """
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigma: Tensor = (top + u * (bottom - top)) ** rho
    return sigma


def lognormal(n: Tensor, P_mean: float, P_std: float) -> Tensor:
    """sigma = exp(P_mean + P_std * n) for unit normal n [...]."""
    return (P_mean + P_std * n).exp()


def edm_weight(sigma: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma * sigma_data)^2. Source: arXiv:2206.00364, Table 1."""
    return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2


def denoising_loss(
    D: Tensor, y: Tensor, sigma: Tensor, sigma_data: float = SIGMA_DATA, u: Tensor | None = None
) -> Tensor:
    """lambda(sigma) (D - y)^2 [N,C,H,W] of clean images y and their denoised D [N,C,H,W]; sigma [N,1,1,1].

    With the logarithm u [N,1,1,1] of the error expected at sigma: lambda(sigma) (D - y)^2 / e^u + u.
    Source: arXiv:2206.00364, Eq. (2); with u arXiv:2312.02696, Eq. (21).
    """
    weight = edm_weight(sigma, sigma_data)
    return weight * (D - y) ** 2 if u is None else weight / u.exp() * (D - y) ** 2 + u


def heun_step(
    denoise: Callable[..., Tensor], x: Tensor, t: Tensor | float, r: Tensor | float, labels: Tensor | None = None
) -> Tensor:
    """The point [N,C,H,W] at noise level r > 0 of the trajectory dx/dt = (x - D(x; t)) / t through x at t; two calls.

    t, r [N,1,1,1] or numbers; `denoise(x, t, labels)` -> D. Source: arXiv:2206.00364, Algorithm 1.
    """
    d = (x - denoise(x, t, labels)) / t
    euler = x + (r - t) * d
    return x + (r - t) * (d + (euler - denoise(euler, r, labels)) / r) / 2
