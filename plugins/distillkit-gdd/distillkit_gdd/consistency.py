"""The additional consistency-distillation loss of GDD's ablation (arXiv:2405.20750, Figure 4: "CD-I").

Noise levels t_0 = 0.002 < ... < t_{N-1} = 80 are EDM's grid; with x = real + t_{n+1} z and n uniform,

    (6)  x_hat = x + (t_n - t_{n+1}) Phi(x, t_{n+1}),   one Heun step of the teacher
    (7)  L     = mean over the batch of d(f(x, t_{n+1}), sg f(x_hat, t_n)),

f the student, d LPIPS with `features`, as published, and else the mean squared distance of the pixels.
Source: arXiv:2303.01469, Algorithm 2 with mu = 0; the equation numbers are the paper's.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import AuxiliaryLoss, Choice, Embedding, State, Step, Term, UsageError, field, frozen, ge, hookimpl
from distillkit.distances import in_features


class Consistency(AuxiliaryLoss):
    """Consistency distillation beside another method, as in GDD's ablation (arXiv:2405.20750, 2303.01469).

    weight = "auto" means 1: the term has no gradient at the generated images to balance.
    """

    curves: ClassVar[dict[str, str]] = {
        "loss/consistency": "Distance between the student's images of two neighbours on a teacher's trajectory: it "
        "falls to a level.",
    }

    @frozen(kw_only=True)
    class Config:
        levels: int = field(default=18, validator=ge(2))  # noise levels of the grid, N
        features: Choice[Embedding] | None = None  # of LPIPS, the published distance; unset: the squared distance

    @hookimpl
    def setup(self, state: State) -> None:
        if state.teacher is None:
            raise UsageError('auxiliary_loss "consistency" follows a teacher: the recipe needs a [teacher_score] table')
        self.t = noise.rho_grid(torch.linspace(1, 0, self.config.levels, dtype=torch.float64))  # ascending
        self.t = self.t.to(state.device, state.dtype)
        self.phi = None if self.config.features is None else state.embedding(self.config.features)

    @hookimpl
    def auxiliary_loss(self, state: State, step: Step) -> Term:
        """Eq. (7)."""
        f, labels, real = state.generator, step.real_labels, step.real.detach()
        n = (step.rand(1, 1, 1) * (self.config.levels - 1)).long()  # [N,1,1,1]
        high, low = self.t[n + 1], self.t[n]
        x = real + high * step.randn_like(real)
        with torch.no_grad():
            target = f(noise.heun_step(state.teacher_score, x, high, low, labels), low, labels)
        return Term("consistency", self.distance(f(x, high, labels), target), weight=1.0)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """d(a, b) [] of images [N,C,H,W], a mean over the batch."""
        return (a - b).square().mean() if self.phi is None else in_features(self.phi, a, b).mean()
