"""Noise levels, their weights, and counter-based randomness: the maths that every method shares."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor

SIGMA_MIN, SIGMA_MAX, RHO, SIGMA_DATA = 0.002, 80.0, 7.0, 0.5  # arXiv:2206.00364, Table 1
BLOCK = 16  # rows of noise that share one generator seed


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


def fold(*parts: int | str) -> int:
    """A 63-bit seed from any mix of numbers and names."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def rows(
    kind: str, seed: int, stream: str, first: int, n: int, shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> Tensor:
    """Rows first ... first+n-1 of an endless stream of "randn" or "rand" rows -> [n, *shape] float32.

    Row i is a function of (seed, stream, i) alone, so neither micro-batches nor ranks nor a resume change it.
    """
    if torch.device(device).type == "meta":  # shapes alone
        return torch.empty(n, *shape, device=device)
    draw = {"randn": torch.randn, "rand": torch.rand}[kind]
    start = first // BLOCK
    stop = math.ceil((first + n) / BLOCK)
    generator = torch.Generator(device)
    blocks = []
    for block in range(start, stop):
        generator.manual_seed(fold(seed, stream, kind, block))
        blocks.append(draw((BLOCK, *shape), generator=generator, device=device))
    table = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
    return table[first - start * BLOCK :][:n]


def shuffled(seed: int, stream: str, first: int, n: int, size: int) -> Tensor:
    """Entries first ... first+n-1 of an endless order over `size` items, reshuffled every epoch -> int64 [n]."""
    parts = []
    while n > 0:
        epoch, at = divmod(first, size)
        generator = torch.Generator().manual_seed(fold(seed, stream, "epoch", epoch))
        part = torch.randperm(size, generator=generator)[at : at + n]
        parts.append(part)
        first, n = first + len(part), n - len(part)
    return torch.cat(parts)
