"""sCM: a consistency model in continuous time, whose image must not change along a trajectory of its teacher.

D is the student in EDM's form, D_* its teacher's (sCD) or the real image itself (sCT); y a real image, n unit noise, s
the noise level, x = y + s n, S sigma_data. In TrigFlow's words theta = arctan(s / S), its point cos(theta) x, its
network F = (cos^2(theta) x - D) / (S sin(theta)), and a consistency function is what D is already. Then

    (a)  ln s ~ N(P_mean, P_std^2), cut at the ends
    (b)  dD/dln s = JVP of D at (x, s) along (x - D_*, s): how the image changes along the trajectory, or, with h,
         (D(x + h (x - D_*), s + h s) - D(x - h (x - D_*), s - h s)) / 2 h
    (c)  g = (r dD/dln s - (1 - r) cos^2(theta) (D_* - D)) / sin(theta),    r = min(1, t / T)
    (d)  g <- g / (|g| + c)
    (e)  L = e^-u(s) / (s P) mean (F - sg(F) - g)^2 + u(s)

(c) is the paper's tangent -cos^2 (S F - v) - r (cos sin x_theta + S dF/dt), with v = (cos^2 x - D_*) / sin, in EDM's
terms; where r = 1 it is zero at the true consistency function. sg: without gradient; |g| is the root mean square over
the P numbers of an image; 1 / s is the prior weight 1 / tan(theta) but for S; u(s), which trains too, the logarithm of
the error expected at s: the student's own (EDM2), or a head of this loss. t: images seen.
Source: arXiv:2410.11081, Sec. 4 and Algorithm 1, in the form of FastGen (github.com/NVlabs/FastGen); the letters are
ours.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import Denoise, GeneratorLoss, State, Step, Turn, UsageError, field, frozen, gt, hookimpl
from distillkit_scm.config import ScmConfig
from distillkit_scm.levels import noise_share, rise, truncated_lognormal
from distillkit_scm.logvar import LogVarHead, expected, has_own

# CIFAR-10 at a batch of 512: EMA 0.9999 per iteration; of two steps the second begins at 0.821.
PUBLISHED: dict[str, Any] = {
    "sample": {"use": "few-step", "sigmas": [80.0], "sigma_min": 0.0, "clamp": False},
    "generator": {
        "optimizer": {"name": "radam", "lr": 1e-4, "betas": [0.9, 0.99], "eps": 1e-8},
        "ema": "halflife", "ema_halflife_kimg": 3549.0, "ema_rampup_ratio": None,
    },
}  # fmt: skip


class Scm(GeneratorLoss):
    """What sCT and sCD share: all but D_*."""

    recipe_defaults: ClassVar[dict[str, Any]] = PUBLISHED

    tiny = {"warmup_kimg": 0.05}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "The tangent's square in the size that is expected of it, and the logarithm of that. g has a "
        "size of nearly 1 always, so it falls as the expected error is learnt, then keeps a level that says little of "
        "the images: look at the metrics, and at the tangent.",
        "scm/tangent": "Root mean square of g before it is normalised: how far the student is from a consistency "
        "function. It rises with r while that is below 1, and falls after it; a jump to many times its level is the "
        "beginning of the end.",
    }  # fmt: skip

    config: ScmConfig

    @hookimpl
    def setup(self, state: State) -> None:
        """u(s), and the turn in which it trains with the student."""
        self.head: LogVarHead | None = None
        trains = ["generator"]
        if self.config.adaptive and not has_own(state):
            self.head = state.add_network("logvar", LogVarHead(), state.recipe.generator.optimizer)
            trains.append("logvar")
        state.turns = [Turn(name="generator", trains=tuple(trains), losses=("generator_loss",))]

    def ahead(self, x: Tensor, s: Tensor, step: Step, teacher_score: Denoise) -> Tensor:
        """D_* [N,C,H,W], to which the trajectory through x [N,C,H,W] at s [N,1,1,1] leads at first."""
        raise NotImplementedError

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(e) [N]."""
        c, y, S = self.config, step.real, state.generator.sigma_data
        s = truncated_lognormal(step.rand(1, 1, 1), c.P_mean, c.P_std, c.sigma_min, c.sigma_max)  # (a)
        x = y + s * step.randn_like(y)
        with torch.no_grad():
            D_star = self.ahead(x, s, step, teacher_score)
        ends = None if c.h is None else (-c.h, c.h)
        D, dD = step.jvp(lambda x, s: state.generator(x, s, step.labels), (x, s), (x - D_star, s), ends)  # (b)
        sin2, cos2 = noise_share(s, S)
        r = rise(state.nimg, c.warmup_kimg)
        g = (r * dD - (1 - r) * cos2 * (D_star - D.detach())) / sin2.sqrt()  # (c)
        size = g.flatten(1).norm(dim=1).view_as(s)
        root = g[0].numel() ** 0.5
        state.record("scm/tangent", size.mean() / root)
        g = g / (size / (root if c.per_pixel else 1) + c.c)  # (d)
        error = (D.detach() - D) / (S * sin2.sqrt()) - g
        u = self.expected(state, s)
        weight = (-u).exp() / (s if c.prior else 1) / (g[0].numel() if c.per_pixel else 1)
        L: Tensor = weight * error.square().mean((1, 2, 3), keepdim=True) + u  # (e)
        return L.flatten()

    def expected(self, state: State, s: Tensor) -> Tensor:
        """u(s) [N,1,1,1]."""
        if not self.config.adaptive:
            return torch.zeros_like(s)
        return expected(state, s) if self.head is None else self.head(s)


class Sct(Scm):
    """sCT: a consistency model of data in continuous time, without a teacher (arXiv:2410.11081)."""

    @frozen(kw_only=True)
    class Config(ScmConfig):
        sigma_max: float = field(default=800.0, validator=gt(0))  # highest noise level, beyond those drawn from

    def ahead(self, x: Tensor, s: Tensor, step: Step, teacher_score: Denoise) -> Tensor:
        return step.real


class Scd(Scm):
    """sCD: a consistency model of a teacher's trajectories in continuous time (arXiv:2410.11081)."""

    @frozen(kw_only=True)
    class Config(ScmConfig):
        pass

    @hookimpl
    def setup(self, state: State) -> None:
        if state.teacher is None:
            raise UsageError('generator_loss "scd" needs a [teacher_score] table; "sct" trains on data alone')
        super().setup(state)

    def ahead(self, x: Tensor, s: Tensor, step: Step, teacher_score: Denoise) -> Tensor:
        return teacher_score(x, s, step.labels)
