"""Truncated consistency models: a second stage that learns the high noise levels alone.

f is the student, f_0 the consistency model that it starts from, frozen; y a real image, n unit noise; from t' on, up
to T = sigma_max, images are the student's.

    (a)  f*(x; t) = f(x; t) for t >= t',   f_0(x; t) below
    (b)  ln t = P_mean + P_std s,   s of Student's t distribution of df degrees of freedom, kept to t' <= t <= T;
         for a share p of the batch, other rows in each iteration, t = t': the boundary
    (c)  r = max(epsilon, t (1 - (1 - ratio) n(t))),   n(t) = 1 + k sigmoid(-b t)
    (d)  l = w(t, r) (sqrt(sum (f*_t - f*_r)^2 + c^2) - c),   w(t, r) = 1 / (t - r),
         f*_t = f*(y + t n; t),   f*_r = f*(y + r n; r) without gradient
    (e)  L = mean of l at t > t' + w_b mean of l at the boundary

(a) is the truncated model, (e) its two losses, (b) their noise levels: Sec. 3 of the paper; the letters are ours.
Where r < t', as at the boundary, the target is f_0: what it knows is handed to the student there. (c) and (d) are
ECT's, of its last stage. Where p of the batch is less than a row, each row is at the boundary with probability p.
The same noise, weights and dropout masks serve f*_t and f*_r.
Source: arXiv:2410.14895, in the form of its authors' code (github.com/NVlabs/TCM), which trains EDM2 with
weight = "edm" and c = 0.06. epsilon is FastGen's (github.com/NVlabs/FastGen), 1e-6 in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import (
    Denoiser,
    GeneratorLoss,
    State,
    Step,
    UsageError,
    asked_levels,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    lt,
)
from distillkit.distances import distance
from distillkit.noise import SIGMA_MAX, SIGMA_MIN, edm_weight, masks_kept, shuffled
from distillkit_cm import student_t
from distillkit_cm.pair import twice
from distillkit_cm.weights import weight


class Tcm(GeneratorLoss):
    """Truncated consistency models: a second stage for a consistency model, on data (arXiv:2410.14895)."""

    # CIFAR-10 at a batch of 1024: EMA 0.9999 per iteration. A dropout of 0.2 belongs to it: [generator] dropout = 0.2.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "few-step", "sigmas": [SIGMA_MAX], "sigma_min": 0.0, "clamp": False},
        "generator": {
            "optimizer": {"name": "radam", "lr": 5e-5, "betas": [0.9, 0.999], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 7097.0, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Distance between the images of two near noise levels, weighted by how near they are: the "
        "student's own and, at the boundary, the first stage's. A level that says little: look at the metrics.",
    }

    @frozen(kw_only=True)
    class Config:
        t_prime: float = field(default=1.0, validator=gt(0))  # t', the noise level from which the student takes over
        sigma_max: float = field(default=SIGMA_MAX, validator=gt(0))  # highest noise level, T
        df: float = field(default=0.01, validator=gt(0))
        """degrees of freedom of ln t: the fewer, the longer its tail; 0.01: almost even in ln t, beside a spike"""
        P_mean: float = 0.0  # where ln t is densest
        P_std: float = field(default=0.2, validator=gt(0))  # scale of ln t
        p: float = field(default=0.25, validator=[gt(0), lt(1)])  # share of the batch that is at the boundary
        w_b: float = field(default=0.1, validator=ge(0))  # weight of the boundary's loss
        ratio: float = field(default=0.999, validator=[gt(0), lt(1)])
        """r / t far above 1, where n(t) is 1; ImageNet-64: 0.9961"""
        k: float = field(default=8.0, validator=ge(0))  # height of n(t) above 1
        b: float = field(default=1.0, validator=gt(0))  # how fast n(t) falls with t
        epsilon: float = field(default=SIGMA_MIN, validator=gt(0))  # lowest noise level r
        c: float = field(default=1e-8, validator=ge(0))  # width of the pseudo-Huber distance; 0.06: ImageNet-64
        weight: str = field(default="step", validator=in_(("step", "edm")))
        """of each pair of noise levels: 1 / (t - r), or EDM's lambda(t), ImageNet-64"""

        def __attrs_post_init__(self) -> None:
            if not self.epsilon < self.t_prime < self.sigma_max:
                raise ValueError(
                    f"'t_prime' {self.t_prime} must be above 'epsilon' {self.epsilon} and below 'sigma_max' "
                    f"{self.sigma_max}"
                )

    config: Config
    f_0: Denoiser

    @hookimpl
    def setup(self, state: State) -> None:
        start, t_prime = state.recipe.generator, self.config.t_prime
        if start.init == "scratch" and not start.checkpoint:
            raise UsageError(
                'generator.init = "scratch" gives random weights, and f_0 is a finished consistency model: '
                'generator.from = "ect.toml", the recipe of one, or checkpoint'
            )
        if (low := min(asked_levels(state))) < t_prime:
            raise UsageError(
                f"sample asks the student at {low:g}, below generator_loss.t_prime = {t_prime:g}, where none trains"
            )
        self.f_0 = state.add_copy("stage_1")
        self.f_0.train()  # dropout, with equal masks

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        """(e) [N]: rows weigh as much as the means over their parts of the batch say."""
        c, y = self.config, step.real
        inside = self.levels(step.rand(1, 1, 1))
        at, p = self.boundary(state, step)
        t = torch.where(at, c.t_prime, inside)
        r = self.map(t)
        n = step.randn_like(y)
        f_t, f_r = twice(state.generator, self.joined(state.generator), (y + t * n, t), (y + r * n, r), step.labels)
        w = weight("step", t, r) if c.weight == "step" else edm_weight(t).flatten()
        loss = w * distance("huber", f_t, f_r, c.c)
        return torch.where(at.flatten(), c.w_b / p * loss, loss / (1 - p))

    def joined(self, student: Denoiser) -> Callable[..., Tensor]:
        """f* of (a)."""

        def f(x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
            with masks_kept(x.device):
                below = self.f_0(x, t, labels)
            return torch.where(t < self.config.t_prime, below, student(x, t, labels))

        return f

    def levels(self, u: Tensor) -> Tensor:
        """t of (b) away from the boundary, of the shape of u in [0,1)."""
        c = self.config
        low, high = ((math.log(t) - c.P_mean) / c.P_std for t in (c.t_prime, c.sigma_max))
        return (c.P_mean + c.P_std * student_t.between(u, c.df, low, high)).exp().clamp(c.t_prime, c.sigma_max)

    def boundary(self, state: State, step: Step) -> tuple[Tensor, float]:
        """Which rows are at it, bool [N,1,1,1], and the share of the batch that they are."""
        rows = int(self.config.p * step.batch)
        if not rows:
            return step.rand(1, 1, 1) < self.config.p, self.config.p
        # The first of a permutation of the batch, which every process knows.
        place = shuffled(state.seed, "tcm/boundary", state.iteration * step.batch + step.first, step.n, step.batch)
        at = (place < rows).to(step.real.device, non_blocking=True)
        return at.view(-1, 1, 1, 1), rows / step.batch

    def map(self, t: Tensor) -> Tensor:
        """r of (c), of t's shape."""
        c = self.config
        return (t * (1 - (1 - c.ratio) * (1 + c.k * torch.sigmoid(-c.b * t)))).clamp(min=c.epsilon)
