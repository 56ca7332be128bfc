"""EDM's second-order sampler of the probability-flow ODE, with optional churn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distillkit.api import Denoise, Sample, Sampling, and_, field, frozen, ge, gt, hookimpl, le
from distillkit.noise import RHO, SIGMA_MAX, SIGMA_MIN, fold, heun_step, rho_grid

MOST = 4096  # steps: four times the longest that anybody published

if TYPE_CHECKING:
    from collections.abc import Callable


class Heun(Sample):
    """Heun's method on the rho-grid, 2 * steps - 1 network calls (arXiv:2206.00364, Algorithms 1 and 2)."""

    tiny = {"steps": 3}

    @frozen(kw_only=True)
    class Config:
        steps: int = field(default=18, validator=and_(ge(1), le(MOST)))  # of the grid; 2 steps - 1 network calls
        sigma_min: float = field(default=SIGMA_MIN, validator=gt(0))  # lowest noise level; raised to the network's own
        sigma_max: float = field(default=SIGMA_MAX, validator=gt(0))
        """highest noise level; lowered to the network's own"""
        rho: float = field(default=RHO, validator=and_(ge(0.1), le(100.0)))
        """bend of the grid: larger, more steps at low noise"""
        S_churn: float = field(default=0.0, validator=ge(0))  # fresh noise per image, over all steps; 0: deterministic
        S_min: float = field(default=0.0, validator=ge(0))  # lowest noise level that churns
        S_max: float = field(default=math.inf, validator=ge(0))  # highest noise level that churns
        S_noise: float = field(default=1.0, validator=ge(0))  # standard deviation of the churn noise

    config: Config

    @property
    def nfe(self) -> int:
        return 2 * self.config.steps - 1

    @hookimpl
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        """z [N,C,H,W] -> x; the churn noise of an image is a function of state.seed and its own z."""
        noise = churn_noise(z, state.seed) if self.config.S_churn else None
        return heun(state.generator, z, labels, self.config, noise).to(z.dtype)


def times(net: Denoise, config: Heun.Config) -> list[float]:
    """t_0 ... t_N of arXiv:2206.00364 Eq. (5), t_N = 0."""
    low, high = max(config.sigma_min, net.sigma_min), min(config.sigma_max, net.sigma_max)
    u = torch.linspace(0, 1, config.steps, dtype=torch.float64)
    return [*rho_grid(u, low, high, config.rho).tolist(), 0.0]


def heun(
    net: Denoise,
    z: Tensor,
    labels: Tensor | None,
    config: Heun.Config,
    noise: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """Unit normal z [N,C,H,W] -> x [N,C,H,W], float64 outside the network; `noise(i)`: the churn noise of step i."""

    def denoise(x: Tensor, t: float, labels: Tensor | None) -> Tensor:
        return net(x.to(z.dtype), z.new_full((), t), labels).to(x.dtype)

    t = times(net, config)
    x = z.double() * t[0]
    for i in range(config.steps):
        gamma = min(config.S_churn / config.steps, math.sqrt(2) - 1) if config.S_min <= t[i] <= config.S_max else 0.0
        t_hat = t[i] * (1 + gamma)
        if gamma and noise is not None:
            x = x + math.sqrt(t_hat**2 - t[i] ** 2) * config.S_noise * noise(i).to(x.dtype)
        if t[i + 1]:
            x = heun_step(denoise, x, t_hat, t[i + 1], labels)
        else:
            x = x - t_hat * ((x - denoise(x, t_hat, labels)) / t_hat)
    return x


def churn_noise(z: Tensor, seed: int) -> Callable[[int], Tensor]:
    """Unit normal noise of the shape of z for each step in order; row i depends on (seed, z[i]) alone."""
    keys = [fold(seed, "churn", row.numpy().tobytes().hex()) for row in z.detach().float().cpu()]
    generators = [torch.Generator(z.device).manual_seed(key) for key in keys]

    def noise(i: int) -> Tensor:
        rows = [torch.randn(z.shape[1:], generator=generator, device=z.device) for generator in generators]
        return torch.stack(rows)

    return noise
