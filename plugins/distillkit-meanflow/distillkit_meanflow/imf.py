"""Improved MeanFlow: average velocities by a regression on velocities, with guidance as an input of the student.

u(z, t, r) is the student's average velocity from r to t, v(z, t) its velocity by a second head; both are told a label
and the guidance: its scale omega within t_min ... t_max. y is a real image, n unit noise; time 0 is data, 1 noise.

    (a)  ln t/(1-t), ln r/(1-r) ~ N(P_mean, P_std^2), sorted; r = t for a share 1 - ratio;   z = (1 - t) y + t n
    (b)  p(omega) ~ omega^-beta in [1, s],   t_min ~ U(0, 1/2), t_max ~ U(1/2, 1);   0 and 1 where r = t
    (c)  omega' = omega if t in [t_min, t_max], else 1
    (d)  v_c = v(z, t | label, omega', 0, 1),   v_u = v(z, t | none, 1, 0, 1),   neither with gradient
    (e)  v_g = n - y + (1 - 1 / omega') (v_c - v_u);   n - y, and no label, for images whose label is dropped
    (f)  V = u + (t - r) sg(du/dt),   du/dt = v_c grad_z u + d_t u
    (g)  L = a(|V - v_g|^2) + a(|v - v_g|^2),   a(e) = e / sg((e + c)^p),   v of the same pass as u

(f) and (g) are MeanFlow as a regression on velocities, (b) to (e) flexible guidance: v_g
is no function of u, and the derivative is along what the student knows of the flow, not along one image's.
Source: arXiv:2512.02012 and its authors' code (github.com/Lyy-iiis/imeanflow, imf.py); the letters are ours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from distillkit.api import GeneratorLoss, State, Step, UsageError, and_, field, frozen, ge, gt, hookimpl, le, optional
from distillkit_meanflow.flow import rate
from distillkit_meanflow.guided import Guided
from distillkit_meanflow.times import Times, chosen

if TYPE_CHECKING:
    from torch import Tensor


class Imf(GeneratorLoss):
    """Improved MeanFlow: from images alone, with guidance as an input (arXiv:2512.02012)."""

    # ImageNet 256 at a batch of 1024.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "flow-map", "sigmas": [999.0]},
        "generator": {
            "init": "scratch",
            "optimizer": {"lr": 1e-4, "betas": [0.9, 0.95]},
            "ema": "halflife", "ema_halflife_kimg": 7097.0, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Two errors, each over itself: near 2 whatever happens. Look at error/* and at the metrics.",
        "error/average": "Squared error of the velocity that the average velocity implies: it falls to a level.",
        "error/velocity": "Squared error of the velocity head: it falls to a level, which what one image does not tell "
        "of the flow sets.",
    }

    @frozen(kw_only=True)
    class Config(Times):
        ratio: float = field(default=0.5, validator=[ge(0), le(1)])  # share of images with r below t
        s: float = field(default=8.0, validator=ge(1))  # largest guidance scale
        beta: float = field(default=1.0, validator=ge(0))  # how fast the density of scales falls; 1: ln omega is even
        label_dropout: float = field(default=0.1, validator=[ge(0), le(1)])  # share of images without label
        p: float = field(default=1.0, validator=ge(0))  # power of an error in its weight
        c: float = field(default=0.01, validator=gt(0))  # least of it
        h: float | None = field(default=None, validator=optional(and_(ge(1e-6), le(0.5))))
        """du/dt by a difference over times +- h, for networks without forward mode; unset: in forward mode"""

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        if not isinstance(state.generator, Guided):
            raise UsageError(
                '[generator_loss] use = "imf" trains a network that takes guidance as an input: '
                '[generator.network] use = "guided-flow-map", with the network itself in its table `network`'
            )

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        """(g) [N]."""
        c, y, labels = self.config, step.real, step.labels
        student: Any = state.generator
        t, r = c.draw(state, step)  # (a)
        n = step.randn_like(y)
        z = (1 - t) * y + t * n
        omega, t_min, t_max = self.guidance(step, t == r)  # (b)
        dropped = chosen(state, step, c.label_dropout, c.rows)
        inside = torch.where((t >= t_min) & (t <= t_max), omega, 1.0)  # (c)
        with torch.no_grad():  # (d)
            v_c = velocities(student, z, t, labels, None, whole(inside))[1]
            v_u = velocities(student, z, t, None, None, whole(torch.ones_like(omega)))[1]
            v_g = n - y + (1 - 1 / inside) * (v_c - v_u) * ~dropped  # (e)
        labels = labels if labels is None else labels * ~dropped.flatten(1)
        told = torch.cat([omega, t_min, t_max], dim=1).flatten(1)

        def heads(z: Tensor, t: Tensor) -> Tensor:
            return torch.cat(velocities(student, z, t, labels, r, told), dim=1)

        both, change = rate(step, heads, z, v_c, t, c.h)
        (u, v), du = both.chunk(2, dim=1), change.chunk(2, dim=1)[0]
        V = u + (t - r) * du  # (f)
        errors = {"average": V - v_g, "velocity": v - v_g}
        return torch.stack([self.weighted(state, name, error) for name, error in errors.items()]).sum(0)

    def guidance(self, step: Step, same: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """omega, t_min, t_max of (b), each [N,1,1,1]; `same`: where r = t."""
        c = self.config
        t_min, t_max = step.uniform(0.0, 0.5), step.uniform(0.5, 1.0)
        U, b = step.rand(1, 1, 1), 1 - c.beta
        omega = c.s**U if b == 0 else ((U * math.expm1(b * math.log(c.s))).log1p() / b).exp()
        return omega, torch.where(same, 0.0, t_min), torch.where(same, 1.0, t_max)

    def weighted(self, state: State, name: str, error: Tensor) -> Tensor:
        """a of (g) [N]."""
        e = error.square().flatten(1).sum(1)
        state.record(f"error/{name}", e.detach().mean())
        return e / (e.detach() + self.config.c) ** self.config.p


def whole(omega: Tensor) -> Tensor:
    """Guidance [N,3] of scales omega [N,1,1,1] at all times."""
    omega = omega.flatten(1)
    return torch.cat([omega, torch.zeros_like(omega), torch.ones_like(omega)], dim=1)


def velocities(
    student: Guided, z: Tensor, t: Tensor, labels: Tensor | None, r: Tensor | None, told: Tensor
) -> tuple[Tensor, Tensor]:
    """u(z, t, r) and v, each [N,C,H,W]; without r, r = t."""
    to = None if r is None else r / (1 - r)
    D_u, D_v = student.heads(z / (1 - t), t / (1 - t), labels, to, told)
    return (z - D_u) / t, (z - D_v) / t
