"""The noise levels that a sampler goes down by: a grid of so many, or a list."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distillkit.api import (
    INFINITE,
    Denoise,
    UsageError,
    added_later,
    and_,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    in_,
    le,
)
from distillkit.api.rollout import falling
from distillkit.convert import TABLES
from distillkit.noise import RHO, SIGMA_MAX, SIGMA_MIN, fold, rho_grid

MOST = 4096  # steps: four times the longest that anybody published


def few(instance: Any, attribute: Any, sigmas: tuple[float, ...]) -> None:
    """A validator: no more levels than any sampler has."""
    if len(sigmas) > MOST:
        raise ValueError(f"{attribute.name!r} must be at most {MOST}: {len(sigmas)}")


def _bent(instance: Any, attribute: Any, grid: str) -> None:
    if grid == "rho" and not instance.sigmas and not (instance.sigma_min > 0 and math.isfinite(instance.sigma_max)):
        raise ValueError('\'grid\' = "rho" has its lowest level above 0 and its highest below inf: "flow" may go there')


@frozen(kw_only=True)
class Levels:
    """Keys of every sampler that goes down by levels; it ends at 0."""

    steps: int = field(default=18, validator=and_(ge(1), le(MOST)))  # noise levels of the grid
    sigmas: tuple[float, ...] = field(
        default=(), validator=[few, deep_iterable(gt(0)), falling], metadata=added_later(as_before=())
    )
    """the noise levels themselves, falling, in place of a grid; 0, where it ends, is not among them"""
    sigma_min: float = field(default=SIGMA_MIN, validator=ge(0))  # lowest noise level; raised to the network's own
    sigma_max: float = field(default=SIGMA_MAX, validator=gt(0), metadata=INFINITE)
    """highest noise level; lowered to the network's own, which inf is"""
    rho: float = field(default=RHO, validator=and_(ge(0.1), le(100.0)))
    """grid "rho": its bend; larger, more steps at low noise"""
    grid: str = field(
        default="rho", validator=[in_(("rho", "flow", "cosine", "leading", "trailing", "linspace")), _bent],
        metadata=added_later(as_before="rho"),
    )  # fmt: skip
    """EDM's, or even in t of flow matching, sigma = t / (1 - t), or in u of a cosine, sigma = tan u, whose lowest level
    is left out, or indices of a table, as diffusers spaces them"""
    shift: float = field(default=1.0, validator=gt(0), metadata=added_later(as_before=1.0))
    """grid "flow": factor of sigma; larger, more steps at high noise; 3: SD3"""
    table: str = field(default="linear", validator=in_(tuple(TABLES)), metadata=added_later(as_before="linear"))
    """noise levels of 1000 indices, by their betas: DDPM's, Stable Diffusion's, or the squared cosine's"""

    @property
    def count(self) -> int:
        """How many levels above 0 there are."""
        return len(self.sigmas) or self.steps


def levels(net: Denoise, c: Levels) -> list[float]:
    """The levels t_0 > ... > t_n = 0, within the range that `net` was made for. Raises UsageError for no range."""
    if c.sigmas or c.grid in SPACED:
        listed = c.sigmas or tuple(SPACED[c.grid](_table(c.table), c.steps).tolist())
        return [*(min(max(sigma, net.sigma_min), net.sigma_max) for sigma in listed), 0.0]
    low, high = max(c.sigma_min, net.sigma_min), min(c.sigma_max, net.sigma_max)
    if not low < high:
        raise UsageError(f"sample: no noise levels from {low:g} to {high:g}: the network has {known(net)}")
    if c.grid == "cosine":  # of progressive distillation: the last of its even steps ends at 0, not at `low`
        u = torch.linspace(math.atan(high), math.atan(low), c.steps + 1, dtype=torch.float64)[: c.steps]
        return [*u.tan().tolist(), 0.0]
    if c.grid == "rho":
        return [*rho_grid(torch.linspace(0, 1, c.steps, dtype=torch.float64), low, high, c.rho).tolist(), 0.0]
    if not math.isfinite(high):
        raise UsageError("sample: the network has no highest noise level, so sigma_max must be one: 80 for EDM's")
    # With sigma_min = 0 the even steps end there, and the last level above is one step away.
    ends = high / (c.shift + high), low / (c.shift + low)
    t = torch.linspace(*ends, c.steps if low else c.steps + 1, dtype=torch.float64)[: c.steps]
    return [*(c.shift * t / (1 - t)).tolist(), 0.0]


def known(net: Denoise) -> str:
    """The noise levels that a network was made for, in words."""
    return f"{net.sigma_min:g} to {net.sigma_max:g}"


def _table(name: str) -> Tensor:
    """sigma float64 [1000] of each index, rising."""
    abar = torch.tensor(TABLES[name](), dtype=torch.float64)
    return ((1 - abar) / abar).sqrt()


def _leading(sigmas: Tensor, n: int) -> Tensor:
    return sigmas[_enough(sigmas, n) * torch.arange(n).flip(0)]


def _trailing(sigmas: Tensor, n: int) -> Tensor:
    _enough(sigmas, n)
    index = len(sigmas) - torch.arange(n, dtype=torch.float64) * (len(sigmas) / n)
    return sigmas[index.round().long() - 1]


def _linspace(sigmas: Tensor, n: int) -> Tensor:
    index = torch.linspace(len(sigmas) - 1, 0, n, dtype=torch.float64)
    low = index.floor().long().clamp(max=len(sigmas) - 2)
    return torch.lerp(sigmas[low], sigmas[low + 1], index - low)


def _enough(sigmas: Tensor, n: int) -> int:
    if n > len(sigmas):
        raise UsageError(f"sample: {n} steps of a table of {len(sigmas)} noise levels")
    return len(sigmas) // n


SPACED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "leading": _leading, "trailing": _trailing, "linspace": _linspace,
}  # fmt: skip


def denoised(net: Denoise, x: Tensor, sigma: float, labels: Tensor | None, dtype: torch.dtype) -> Tensor:
    """D [N,C,H,W] in the dtype of x; `dtype`: that the network is asked in."""
    return net(x.to(dtype), torch.as_tensor(sigma, dtype=dtype, device=x.device), labels).to(x.dtype)


def toward(net: Any, r: float) -> dict[str, float]:
    """What a flow map is told beside the noise level: where it jumps to. A denoiser is told nothing."""
    return {"r": r} if getattr(net, "second_time", False) else {}


def own_noise(z: Tensor, seed: int) -> Callable[[int], Tensor]:
    """Unit normal noise of the shape of z for each step in order; row i depends on (seed, z[i]) alone."""
    if z.is_meta:  # under `distillkit plan`
        return lambda i: torch.empty_like(z)
    keys = [fold(seed, "churn", row.numpy().tobytes().hex()) for row in z.detach().float().cpu()]
    generators = [torch.Generator(z.device).manual_seed(key) for key in keys]

    def noise(i: int) -> Tensor:
        rows = [torch.randn(z.shape[1:], generator=generator, device=z.device) for generator in generators]
        return torch.stack(rows)

    return noise
