"""Prodigy: Adam that finds the size of its steps from how far the weights have come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distillkit.api import Optimizer, UpdateRule, UsageError, field, frozen, gt

LEAST = 0.01  # a factor of the step below which a learning rate was meant


class Prodigy(UpdateRule):
    """Adam whose step d it estimates itself; lr is a factor of it, 1 to begin with.

    arXiv:2306.06101, Algorithm 4, with a decay of weights that is apart from the gradient. Per weight: its average
    gradient, average square, where it began, and the sums r and s; d = max(d, coefficient r / |s|_1) of all together.
    """

    @frozen(kw_only=True)
    class Config:
        d0: float = field(default=1e-6, validator=gt(0))  # the first d: too small, it grows to what it must be
        coefficient: float = field(default=1.0, validator=gt(0))  # of the estimate: 2 for larger steps

    config: Config

    def prepare(self, weights: Mapping[str, Tensor], settings: Optimizer) -> None:
        """Raises UsageError for an lr that can only be meant as Adam's."""
        super().prepare(weights, settings)
        if settings.lr < LEAST:
            raise UsageError(f"prodigy: lr is a factor of the step that it finds, 1 to begin with, not {settings.lr:g}")

    def begin(self, name: str, p: Tensor) -> dict[str, Tensor]:
        """Averages, sums, the weight itself, and d."""
        zeros = {key: torch.zeros_like(p) for key in ("exp_avg", "exp_avg_sq", "s")}
        return {**zeros, "start": p.detach().clone(), "r": p.new_zeros(()), "d": p.new_full((), self.config.d0)}

    def move(
        self, name: str, p: Tensor, grad: Tensor, state: Mapping[str, Tensor], t: Tensor, lr: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weight and its state after update t, by the d of before; `agree` makes the next."""
        d, (beta1, beta2) = state["d"], self.settings.betas
        root = beta2**0.5
        m = beta1 * state["exp_avg"] + (1 - beta1) * d * grad
        v = beta2 * state["exp_avg_sq"] + (1 - beta2) * (d * grad).square()
        r = root * state["r"] + (1 - root) * lr * d.square() * (grad * (state["start"] - p)).sum()
        s = root * state["s"] + (1 - root) * lr * d.square() * grad
        step = m / (v.sqrt() + d * self.settings.eps)
        after = p - lr * d * (step + self.settings.weight_decay * p)
        return after, {"exp_avg": m, "exp_avg_sq": v, "s": s, "start": state["start"], "r": r, "d": d}

    def agree(self, states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The d of the next update."""
        d, r = (torch.stack([state[key] for state in states]) for key in ("d", "r"))
        length = torch.stack([state["s"].abs().sum() for state in states]).sum()
        found = self.config.coefficient * r.sum() / length
        return {"d": torch.where(length > 0, torch.maximum(d.max(), found), d.max())}
