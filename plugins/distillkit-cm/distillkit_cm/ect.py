"""Easy consistency tuning: from a diffusion model to a consistency model by bringing r closer to t.

f is the student, y a real image, n unit noise, a the stage: it counts up every `double_kimg`.

    (a)  ln t ~ N(P_mean, P_std^2)
    (b)  r = max(0, t (1 - n(t) / q^(a+1))),   n(t) = 1 + k sigmoid(-b t)
    (c)  f_t = f(y + t n; t),   f_r = f(y + r n; r) without gradient, y itself where r = 0
    (d)  L = w(t, r) (sqrt(sum (f_t - f_r)^2 + c^2) - c),   w(t, r) = 1 / (t - r)

(b) is the training schedule p(r | t), (d) the metric and its weight: Sec. 3 of the paper; the letters are ours. The
metric is arXiv:2310.14189's pseudo-Huber, Sec. 3.3. The same noise, weights and dropout masks serve f_t and f_r. With
r = 0, as early on for small t, (d) is denoising. f has EDM's form in training and the consistency form in evaluation.
Source: arXiv:2406.14548, in the form of its authors' code (github.com/locuslab/ect); weight = "edm" is that of its
ImageNet branch.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import GeneratorLoss, State, Step, field, frozen, ge, gt, hookimpl, in_
from distillkit.distances import distance
from distillkit.noise import edm_weight
from distillkit_cm.pair import twice
from distillkit_cm.weights import weight


class Ect(GeneratorLoss):
    """Easy consistency tuning: from a trained diffusion model, on data (arXiv:2406.14548)."""

    # CIFAR-10 at a batch of 128: EMA 0.9999 per iteration. A dropout of 0.2 belongs to it: [generator] dropout = 0.2.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "few-step", "sigmas": [80.0], "sigma_min": 0.0, "clamp": False},
        "generator": {
            "optimizer": {"name": "radam", "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 887.0, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Distance between the student's images of two noise levels, weighted by how near these "
        "are. They come nearer from stage to stage, so numbers of two stages do not compare: within one it is a "
        "level that says little. Look at the metrics.",
    }

    @frozen(kw_only=True)
    class Config:
        P_mean: float = -1.1  # mean of ln t
        P_std: float = field(default=2.0, validator=gt(0))  # standard deviation of ln t
        q: float = field(default=2.0, validator=gt(1))
        """factor by which t - r shrinks from stage to stage; 256: one stage"""
        double_kimg: float = field(default=3200.0, validator=gt(0))  # images per stage; published: 8 stages
        mapping: str = field(default="sigmoid", validator=in_(("sigmoid", "const")))
        """n(t), by which r nears t: 1 + k sigmoid(-b t), or 1"""
        k: float = field(default=8.0, validator=ge(0))  # mapping "sigmoid": height of n(t) above 1
        b: float = field(default=1.0, validator=gt(0))  # mapping "sigmoid": how fast n(t) falls with t
        c: float = field(default=0.0, validator=ge(0))  # width of the pseudo-Huber distance; 0.06: ImageNet-64
        weight: str = field(default="step", validator=in_(("step", "edm", "root", "c_out")))
        """of a pair of noise levels: 1 / (t - r), or EDM's lambda(t); FastGen's: 1 / sqrt(t - r), 1 / c_out(t)"""
        boundary: float = field(default=0.003, validator=ge(0))  # sigma where the student is the identity in evaluation

    config: Config

    @property
    def network_keys(self) -> dict[str, Any]:
        return {"preconditioning": "ect", "boundary": self.config.boundary}

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        """(d) [N]."""
        c, y = self.config, step.real
        t = step.lognormal_sigma(c.P_mean, c.P_std)
        r = self.map(t, int(state.nimg // (c.double_kimg * 1000)))
        n = step.randn_like(y)
        above = torch.where(r > 0, r, t)  # no network is asked at 0
        f_t, f_r = twice(state.generator, state.generator, (y + t * n, t), (y + r * n, above), step.labels)
        f_r = torch.where(r > 0, f_r, y)
        w = edm_weight(t).flatten() if c.weight == "edm" else weight(c.weight, t, r)
        return w * distance("huber", f_t, f_r, c.c)

    def map(self, t: Tensor, stage: int) -> Tensor:
        """r of (b), of t's shape."""
        c = self.config
        slow = 1 + c.k * torch.sigmoid(-c.b * t) if c.mapping == "sigmoid" else 1.0
        return (t * (1 - slow / c.q ** (stage + 1))).clamp(min=0)
