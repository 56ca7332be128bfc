"""Improved consistency training: from data alone, on a grid of noise levels that doubles, without a slow copy.

f is the student, y a real image, n unit noise; k of K iterations are done. The grid rises from epsilon = sigma_min to
T = sigma_max by rho = 7, as in Karras et al. (arXiv:2206.00364).

    (a)  N = min(s0 2^floor(k / K'), s1) + 1,   K' = floor(K / (log2 floor(s1 / s0) + 1))
    (b)  sigma_i = (epsilon^(1/rho) + i / (N - 1) (T^(1/rho) - epsilon^(1/rho)))^rho,   i = 0 ... N - 1
    (c)  P(i) ~ erf((ln sigma_(i+1) - P_mean) / (sqrt(2) P_std)) - erf((ln sigma_i - P_mean) / (sqrt(2) P_std)),
         i = 0 ... N - 2;   t = sigma_(i+1),   r = sigma_i
    (d)  L = (sqrt(sum (f_t - f_r)^2 + c^2) - c) / (t - r),   c = 0.00054 sqrt(C H W),
         f_t = f(y + t n; t),   f_r = f(y + r n; r) without gradient

(a) is the curriculum of Sec. 3.4, (c) the draw of noise levels of Sec. 3.5: ln t is normal but for the grid. (d) has
the weight of Sec. 3.1, the student itself as the target (Sec. 3.2) and the pseudo-Huber metric of Sec. 3.3, whose sum
runs over an image; the letters are ours. The same noise, weights and dropout masks serve f_t and f_r.
Source: arXiv:2310.14189; no code of its authors. A third party's (github.com/Kinyugo/consistency_models) has the same
schedules, draw and weight, with a metric taken pixel by pixel.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import (
    GeneratorLoss,
    State,
    Step,
    and_,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    le,
    optional,
)
from distillkit.distances import distance
from distillkit.noise import RHO, SIGMA_MAX, SIGMA_MIN, rho_grid
from distillkit_cm.pair import twice
from distillkit_cm.weights import weight

LEAST = 1e-3  # of the mass of ln t on the grid: of less, single precision has no digits left


class Ict(GeneratorLoss):
    """Improved consistency training: without a teacher, from scratch (arXiv:2310.14189)."""

    # CIFAR-10 at a batch of 1024: EMA 0.99993 per iteration. A dropout of 0.3 belongs to it, in [generator.network].
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "few-step", "sigmas": [SIGMA_MAX]},
        "generator": {
            "init": "scratch",
            "optimizer": {"name": "radam", "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 10_140.0, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Distance between the student's images of two neighbouring noise levels, over how far these "
        "are apart. The grid doubles as the run goes on, so early and late numbers are of other pairs: a level that "
        "says little. Look at the metrics.",
    }

    @frozen(kw_only=True)
    class Config:
        s0: int = field(default=10, validator=ge(1))  # steps of the grid at the start
        s1: int = field(default=1280, validator=ge(1))  # steps of the grid at most
        schedule_kimg: float | None = field(default=None, validator=optional(gt(0)))
        """images of the K iterations; unset: those of the run"""
        P_mean: float = -1.1  # mean of ln t
        P_std: float = field(default=2.0, validator=gt(0))  # standard deviation of ln t
        c: float | None = field(default=None, validator=optional(ge(0)))
        """width of the pseudo-Huber distance; unset: 0.00054 sqrt(C H W)"""
        sigma_min: float = field(default=SIGMA_MIN, validator=gt(0))
        """lowest noise level, epsilon, where the student is the identity"""
        sigma_max: float = field(default=SIGMA_MAX, validator=gt(0))  # highest noise level, T
        rho: float = field(default=RHO, validator=and_(ge(0.1), le(100.0)))
        """bend of the grid: larger, more steps at low noise"""

        def __attrs_post_init__(self) -> None:
            if self.s1 < self.s0:
                raise ValueError(f"'s1' {self.s1}, the grid's steps at most, must not be below 's0' {self.s0}")
            if self.sigma_max <= self.sigma_min:
                raise ValueError(f"'sigma_max' {self.sigma_max} must be above 'sigma_min' {self.sigma_min}")
            ends = torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64).log()
            if not below(ends, self.P_mean, self.P_std).diff() > LEAST:
                raise ValueError(
                    f"'P_mean' {self.P_mean}, 'P_std' {self.P_std}: next to no such t lies between the grid's ends"
                )

        @property
        def depends_on_kimg(self) -> bool:
            return self.schedule_kimg is None

    config: Config

    @property
    def network_keys(self) -> dict[str, Any]:
        return {"preconditioning": "consistency", "boundary": self.config.sigma_min}

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        """(d) [N]."""
        y = step.real
        sigma = self.grid(self.points(state), y)
        i = drawn(masses(sigma.log(), self.config.P_mean, self.config.P_std), step.rand(1, 1, 1))
        t, r = sigma[i + 1], sigma[i]
        n = step.randn_like(y)
        f_t, f_r = twice(state.generator, state.generator, (y + t * n, t), (y + r * n, r), step.labels)
        c = 0.00054 * math.sqrt(y[0].numel()) if self.config.c is None else self.config.c
        return weight("step", t, r) * distance("huber", f_t, f_r, c)

    def points(self, state: State) -> int:
        """N."""
        total = state.total if self.config.schedule_kimg is None else int(self.config.schedule_kimg * 1000)
        return doubling(state.nimg // state.batch, total // state.batch, self.config.s0, self.config.s1)

    def grid(self, N: int, like: Tensor) -> Tensor:
        """(b) [N]."""
        u = 1 - torch.arange(N, device=like.device, dtype=like.dtype) / (N - 1)
        return rho_grid(u, self.config.sigma_min, self.config.sigma_max, self.config.rho)


def doubling(k: int, K: int, s0: int, s1: int) -> int:
    """N of (a)."""
    each = max(math.floor(K / (math.log2(s1 // s0) + 1)), 1)
    doublings = min(k // each, s1.bit_length())
    return min(s0 << doublings, s1) + 1


def masses(ln_sigma: Tensor, P_mean: float, P_std: float) -> Tensor:
    """P of (c) [N-1], of which the sum is 1."""
    E = below(ln_sigma, P_mean, P_std)
    return E.diff() / (E[-1] - E[0])


def below(ln_sigma: Tensor, P_mean: float, P_std: float) -> Tensor:
    """erf of (c), twice the normal mass below each level but for a constant, of the shape of ln_sigma."""
    return torch.erf((ln_sigma - P_mean) / (math.sqrt(2) * P_std))


def drawn(P: Tensor, u: Tensor) -> Tensor:
    """i of (c), of the shape of u in [0,1)."""
    return torch.searchsorted(P.cumsum(0), u, right=True).clamp(max=len(P) - 1)
