"""AdamW's update of one weight, for those that a rule of another kind leaves to it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from distillkit.api import Optimizer


def begin(p: Tensor) -> dict[str, Tensor]:
    """Moments of a weight before its first update."""
    return {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}


def move(
    p: Tensor, grad: Tensor, state: Mapping[str, Tensor], t: Tensor, lr: float, settings: Optimizer
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weight and its moments after update t (arXiv:1711.05101, Algorithm 2): decay apart from the gradient."""
    beta1, beta2 = settings.betas
    m = state["exp_avg"].lerp(grad, 1 - beta1)
    v = (state["exp_avg_sq"] * beta2).addcmul_(grad, grad, value=1 - beta2)
    # In double: 1 - beta^t of a beta of 0.999 keeps few digits in single.
    c1, c2 = ((1 - beta ** t.double()).to(p.dtype) for beta in (beta1, beta2))
    d = (m / c1) / ((v / c2).sqrt_().add_(settings.eps))
    return (p * (1 - lr * settings.weight_decay)).sub_(d, alpha=lr), {"exp_avg": m, "exp_avg_sq": v}
