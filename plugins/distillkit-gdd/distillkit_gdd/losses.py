"""The adversarial losses and the gradient penalty, of logits [N,K] per backbone."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

Logits = list[Tensor]


def generator_loss(fake: Logits, form: str) -> Tensor:
    """sum over backbones of mean_K softplus(-l), or of mean_K -l in the "hinge" form [N]."""
    cost = torch.neg if form == "hinge" else lambda logits: F.softplus(-logits)
    return cast(Tensor, sum(cost(logits).mean(1) for logits in fake))


def discriminator_loss(fake: Logits, real: Logits, form: str) -> Tensor:
    """sum over backbones of mean_K softplus(l_fake) + mean_K softplus(-l_real); hinge: relu(1 + l), relu(1 - l) [N]."""
    cost = (lambda logits: F.relu(1 + logits)) if form == "hinge" else F.softplus
    return cast(Tensor, sum(cost(logits).mean(1) for logits in [*fake, *(-logits for logits in real)]))


def r1_penalty(logits: Logits, real: Tensor) -> Tensor:
    """|d sum l / d real|^2 [N] of real images [N,C,H,W] and their logits, with a graph (arXiv:1801.04406, Eq. (9))."""
    total = cast(Tensor, sum(part.sum() for part in logits))
    (grad,) = torch.autograd.grad(total, real, create_graph=True)
    return grad.square().flatten(1).sum(1)
