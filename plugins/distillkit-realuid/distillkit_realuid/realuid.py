"""RealUID: the fake flow's best fit to generated images tells how far they are from the teacher's; real ones help it.

theta is the generator, psi the fake flow, * the teacher; x generated images, y real ones, n unit noise. On the straight
path from noise (t = 0) to data (t = 1), x_t = t x + (1 - t) n, the velocity that a denoiser D stands for is

    (a)  u(x_t, t) = (D(x_t / t; sigma) - x_t) / (1 - t),    sigma = (1 - t) / t

    (b)  f_s(u, x) = |u(x_t, t) - s (x - n)|^2,    a = alpha, b = beta
    (c)  L_theta   = a [f_{b/a}(u_*, x) - f_{b/a}(u_psi, x)]
    (d)  L_psi     = a f_{b/a}(u_psi, x) + (1 - a) f_{(1-b)/(1-a)}(u_psi, y),    t ~ U(0, 1), the same t and n in both

    (e)  relative = true: u_psi = u_* + b (u - u_*), where u is the fake network's

(c) is differentiated through x, x_t and both networks, whose weights are constants in it. alpha = beta = 1 needs no
real images: (c) is then the gap that SiD closes with alpha = 1/2, in the velocities' weight. (d) is the loss whose
least value (c) subtracts: five updates of psi for one of theta. Sums run over the pixels of one image.
Source: arXiv:2509.22459, Sec. 3, in the form of its authors' code (github.com/David-cripto/RealUID); the letters are
ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from distillkit.api import Denoise, GeneratorLoss, State, Step, Turn, UsageError, frozen, hookimpl
from distillkit_realuid.config import RealUidConfig

if TYPE_CHECKING:
    from torch import Tensor


END = 1e-5  # least distance of t from 0, where sigma is infinite, and from 1, where rounding is all of a velocity


class RealUid(GeneratorLoss):
    """RealUID: closes the gap of two flows, with the help of real images (arXiv:2509.22459)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "one-step", "sigma_init": 80.0},
        "generator": {
            "optimizer": {"lr": 3e-5, "betas": [0.0, 0.999], "clip_norm": 1.0},
            "ema": "halflife", "ema_halflife_kimg": 500.0,
        },
    }  # fmt: skip

    tiny = {"warmup_kimg": 0.0}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "How much worse than the fake flow the teacher's fits the generated images: above 0 once the "
        "fake flow follows, and back towards 0 as the student settles.",
        "loss/fake_flow": "Squared error of the fake flow at generated and real images: a level that it keeps.",
    }

    @frozen(kw_only=True)
    class Config(RealUidConfig):
        pass

    config: RealUidConfig

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        start: Any = "teacher" if c.fake_flow is None else state.new_network(c.fake_flow).requires_grad_(True)
        self.fake_score = psi = state.add_network("fake_flow", start, c.optimizer())
        # sigma = (1 - t) / t must be one that the networks were made for.
        known = max(psi.sigma_min, state.teacher_score.sigma_min), min(psi.sigma_max, state.teacher_score.sigma_max)
        self.times = low, high = max(c.t_min, 1 / (1 + known[1])), min(c.t_max, 1 / (1 + known[0]))
        if not max(low, END) < min(high, 1 - END):
            raise UsageError(f"t_min, t_max: no times from {low:g} to {high:g}, which the networks know")
        state.turns = [
            Turn(name="fake_flow", trains=("fake_flow",), losses=("critic_loss",)),
            Turn(name="generator", trains=("generator",), losses=("generator_loss",), every=c.updates,
                 first=c.updates - 1),
        ]  # fmt: skip

    @hookimpl
    def critic_loss(self, state: State, step: Step) -> Tensor:
        """(d)."""
        a, b, psi = self.config.alpha, self.config.beta, self.psi(state.teacher_score)
        t, n = self.path(step)
        L_psi = a * misfit(psi, step.x, n, t, step.labels, b / a)
        if a < 1:
            y, labels = step.real, step.real_labels
            L_psi = L_psi + (1 - a) * misfit(psi, y, n, t, labels, (1 - b) / (1 - a))
        return L_psi

    @hookimpl
    def generator_loss(self, step: Step, teacher_score: Denoise) -> Tensor:
        """(c)."""
        a, b = self.config.alpha, self.config.beta
        t, n = self.path(step)
        f_real = misfit(teacher_score, step.x, n, t, step.labels, b / a)
        return a * (f_real - misfit(self.psi(teacher_score), step.x, n, t, step.labels, b / a))

    def psi(self, teacher_score: Denoise) -> Any:
        """D of u_psi, which is a straight line in u, and so in D; (e)."""
        fake, beta = self.fake_score, self.config.beta
        if not self.config.relative:
            return fake

        def moved(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
            return torch.lerp(teacher_score(x, sigma, labels), fake(x, sigma, labels), beta)

        return moved

    def path(self, step: Step) -> tuple[Tensor, Tensor]:
        """t [N,1,1,1] and n [N,C,H,W]."""
        t = step.uniform(*self.times).clamp(END, 1 - END)
        return t, step.randn_like(step.x)


def misfit(D: Denoise, x: Tensor, n: Tensor, t: Tensor, labels: Tensor | None, s: float) -> Tensor:
    """(b) [N], of clean images x, noise n [N,C,H,W] and t [N,1,1,1]."""
    x_t = t * x + (1 - t) * n
    u = (D(x_t / t, (1 - t) / t, labels) - x_t) / (1 - t)  # (a)
    return (u - s * (x - n)).square().flatten(1).sum(1)
