"""Diff-Instruct in a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distillkit.api import GeneratorLoss, Optimizer, field, frozen, gt, hookimpl
from distillkit.noise import edm_weight

if TYPE_CHECKING:
    from distillkit.engine.state import State
    from distillkit.engine.step import Step


class ToyDiffInstruct(GeneratorLoss):
    """Diff-Instruct: push x along D_fake - D_real at one noise level (arXiv:2305.18455)."""

    @frozen(kw_only=True)
    class Config:
        P_mean: float = -1.2  # mean of ln sigma
        P_std: float = field(default=1.2, validator=gt(0))  # standard deviation of ln sigma
        lr: float = field(default=1e-5, validator=gt(0))  # of the fake score

    @hookimpl
    def setup(self, state: State) -> None:
        init = "generator" if state.teacher.network is None else "teacher"
        self.fake_score = state.add_critic("fake_score", init=init, optimizer=Optimizer(lr=self.config.lr))

    @hookimpl
    def critic_loss(self, step: Step) -> Tensor:
        sigma = step.lognormal_sigma(self.config.P_mean, self.config.P_std)
        D = self.fake_score(step.x + sigma * step.randn_like(step.x), sigma, step.labels)
        return (edm_weight(sigma) * (D - step.x) ** 2).flatten(1).sum(1)

    @hookimpl
    def generator_loss(self, step: Step, teacher_score: Callable[..., Tensor]) -> Tensor:
        sigma = step.lognormal_sigma(self.config.P_mean, self.config.P_std)
        with torch.no_grad():
            x_sigma = step.x + sigma * step.randn_like(step.x)
            d = self.fake_score(x_sigma, sigma, step.labels) - teacher_score(x_sigma, sigma, step.labels)
        return (d * step.x).flatten(1).sum(1)
