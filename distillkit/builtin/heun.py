"""EDM's second-order sampler of the probability-flow ODE, with optional churn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from distillkit.api import Denoise, Sample, Sampling, field, frozen, ge, hookimpl
from distillkit.builtin.levels import Levels, levels, own_noise
from distillkit.noise import heun_step

if TYPE_CHECKING:
    from collections.abc import Callable


class Heun(Sample):
    """Heun's method on the rho-grid, 2 * steps - 1 calls (arXiv:2206.00364, Algorithms 1 and 2)."""

    tiny = {"steps": 3}

    @frozen(kw_only=True)
    class Config(Levels):
        S_churn: float = field(default=0.0, validator=ge(0))  # fresh noise per image, over all steps; 0: deterministic
        S_min: float = field(default=0.0, validator=ge(0))  # lowest noise level that churns
        S_max: float = field(default=math.inf, validator=ge(0))  # highest noise level that churns
        S_noise: float = field(default=1.0, validator=ge(0))  # standard deviation of the churn noise

    config: Config

    @property
    def nfe(self) -> int:
        return 2 * self.config.count - 1

    @hookimpl
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        """z [N,C,H,W] -> x; the churn noise of an image is a function of state.seed and its own z."""
        noise = own_noise(z, state.seed) if self.config.S_churn else None
        return heun(state.generator, z, labels, self.config, noise).to(z.dtype)


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

    t, steps = levels(net, config), config.count
    x = z.double() * t[0]
    for i in range(steps):
        gamma = min(config.S_churn / steps, math.sqrt(2) - 1) if config.S_min <= t[i] <= config.S_max else 0.0
        t_hat = t[i] * (1 + gamma)
        if gamma and noise is not None:
            x = x + math.sqrt(t_hat**2 - t[i] ** 2) * config.S_noise * noise(i).to(x.dtype)
        if t[i + 1]:
            x = heun_step(denoise, x, t_hat, t[i + 1], labels)
        else:
            x = x - t_hat * ((x - denoise(x, t_hat, labels)) / t_hat)
    return x
