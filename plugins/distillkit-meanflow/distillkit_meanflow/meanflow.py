"""MeanFlow: the average velocity between two times of a flow, which one call follows from noise to data.

u is the student, y a real image, n unit noise, v_* the teacher's velocity; time 0 is data, 1 noise, 0 <= r <= t.

    (a)  ln t/(1-t) ~ N(P_mean, P_std^2), r likewise with its own; r = t for a share 1 - ratio of the images
    (b)  z = (1 - t) y + t n,   v = n - y,   or v = v_*(z, t): distilled
    (c)  v~ = omega v + (1 - omega - kappa) u(z, t, t | none) + kappa u(z, t, t | label),   t in [t_start, t_end]
    (d)  u = v~ - (t - r) du/dt,   du/dt = v~ grad_z u + d_t u
    (e)  g = v~ - (t - r) du/dt - u,   e = sum g^2,   L = e / sg((e + c)^p)
    (f)  form = "tangent": w = 1 / (|g| + c)^p,   L = sum (u - sg(u + w g))^2

(d) is the paper's MeanFlow identity, Eq. (6): u is the average of v~ from r to t, and flow matching where r = t. In (e)
its right side has no gradient. (c) is guidance as a part of what is learned, Eq. (19) and (21): images whose label is
dropped learn v, and u(z, t, t) is asked without dropout. (f) is FastGen's, whose du/dt may be warmed up
and in which, as in (e), an error may count by exp(c - p e).
Source: arXiv:2505.13447 and its authors' code (github.com/Gsunshine/py-meanflow); the letters are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from distillkit.api import Denoise, GeneratorLoss, State, Step, UsageError, check_augment, frozen, hookimpl
from distillkit_meanflow.config import MeanFlowConfig
from distillkit_meanflow.flow import rate, velocity
from distillkit_meanflow.times import chosen

if TYPE_CHECKING:
    from torch import Tensor


class MeanFlow(GeneratorLoss):
    """MeanFlow: learns average velocities, from images or from a teacher's flow (arXiv:2505.13447)."""

    # ImageNet 256 at a batch of 1024.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "flow-map", "sigmas": [999.0]},
        "generator": {
            "optimizer": {"lr": 1e-4, "betas": [0.9, 0.95]},
            "ema": "halflife", "ema_halflife_kimg": 7097.0, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    network_keys: ClassVar[dict[str, Any]] = {"second_time": True}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Error of the average velocity, divided by a power of itself: near e^(1-p), it moves little "
        "and says little. Look at error/meanflow and at the metrics.",
        "error/meanflow": "The error itself, a sum over the pixels: it falls to a level far above zero, what one image "
        "does not tell of the flow.",
    }

    @frozen(kw_only=True)
    class Config(MeanFlowConfig):
        pass

    config: MeanFlowConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.augment = None if config.augment is None else config.augment.build()

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        check_augment(self.augment, state.generator)
        if c.velocity == "teacher" and state.teacher is None:
            raise UsageError('[generator_loss] velocity = "teacher" needs a [teacher_score] table')
        if (c.guided or c.label_dropout) and not state.layout.size:
            raise UsageError("[generator_loss] omega, kappa and label_dropout are of labels, and the data set has none")

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(e) or (f) [N]."""
        c, labels, student = self.config, step.labels, state.generator
        y, made = (step.real, None) if self.augment is None else self.augment(step.real, step)
        t, r = c.draw(state, step)  # (a)
        n = step.randn_like(y)
        z = (1 - t) * y + t * n
        guided = (t >= c.t_start) & (t <= c.t_end)
        if c.label_dropout and labels is not None:
            dropped = chosen(state, step, c.label_dropout, c.rows)
            labels, guided = labels * ~dropped.flatten(1), guided & ~dropped
        with torch.no_grad():
            v = n - y if c.velocity == "data" else velocity(teacher_score, z, t, labels)  # (b)
            v = torch.where(guided, self.guide(student, v, z, t, labels, made), v) if c.guided else v
        u, du = rate(step, lambda z, t: velocity(student, z, t, labels, r, made), z, v, t, c.h)
        rise = min(state.nimg / (1000 * c.warmup_kimg), 1.0) if c.warmup_kimg else 1.0
        target = v - rise * (t - r) * du  # (d)
        e = (target - u).square().flatten(1).sum(1)
        state.record("error/meanflow", e.detach().mean())
        if c.form == "tangent":
            return self.by_tangent(u, (target - u).detach())
        return e / self.divisor(e.detach())

    def divisor(self, e: Tensor) -> Tensor:
        """(e + c)^p of (e) and (f), or exp(p e - c)."""
        c = self.config
        return (e + c.c) ** c.p if c.weight == "power" else (c.p * e - c.c).exp()

    def guide(
        self, student: Any, v: Tensor, z: Tensor, t: Tensor, labels: Tensor | None, made: Tensor | None
    ) -> Tensor:
        """(c); `made`: labels of what was done to the images."""
        c = self.config
        student.eval()
        guided = c.omega * v + (1 - c.omega - c.kappa) * velocity(student, z, t, None, None, made)
        if c.kappa:
            guided = guided + c.kappa * velocity(student, z, t, labels, None, made)
        student.train()
        return guided

    def by_tangent(self, u: Tensor, g: Tensor) -> Tensor:
        """(f)."""
        c = self.config
        g = g / g[0].numel() ** 0.5 if c.per_pixel else g
        w = 1 / self.divisor(g.flatten(1).norm(dim=1))
        left: Tensor = u - (u.detach() + w.view(-1, 1, 1, 1) * g)
        return left.square().flatten(1).sum(1)
