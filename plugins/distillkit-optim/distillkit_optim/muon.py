"""Muon: updates of matrices made orthogonal, each singular direction as far as any other."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import Optimizer, UpdateRule, UsageError, deep_iterable, field, frozen, ge, lt, min_len
from distillkit_optim import adam

COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the quintic that takes singular values in (0, 1] to about 1
SMALL = 1e-7  # keeps a gradient of zeros from a division by its norm
RMS = 0.2  # of the entries of an update of AdamW, which Muon's are scaled to: one lr for both


class Muon(UpdateRule):
    """Muon on hidden weights; AdamW, with the same lr, betas and eps, on all others.

    Hidden are weights with two or four dimensions, [O,I] or, as a matrix, [O,I*h*w], that have `least` channels or more
    on both sides: not biases and gains, nor the layers that take or give pixels, nor what `adam` names.
    The momentum's orthogonal factor comes from Newton-Schulz steps in the weight's own dtype, and is scaled by
    0.2 sqrt(max(O,I*h*w)): lr is AdamW's. Sources: Jordan et al. 2024, kellerjordan.github.io/posts/muon;
    arXiv:2502.16982, Section 2.2.
    """

    @frozen(kw_only=True)
    class Config:
        momentum: float = field(default=0.95, validator=[ge(0), lt(1)])  # share of the momentum that stays
        nesterov: bool = True  # look ahead: mix the gradient into the momentum once more
        steps: int = field(default=5, validator=ge(1))  # of Newton-Schulz
        least: int = field(default=16, validator=ge(1))  # channels in and out from which a weight counts as hidden
        adam: tuple[str, ...] = field(default=(), validator=deep_iterable(min_len(1)))
        """names of further weights that AdamW moves, with * as in file names"""

    config: Config
    tiny: ClassVar[dict[str, Any]] = {"least": 2}

    def prepare(self, weights: Mapping[str, Tensor], settings: Optimizer) -> None:
        """Choose the hidden weights. Raises UsageError for a pattern that fits none, and where no weight is left."""
        super().prepare(weights, settings)
        unused = [one for one in self.config.adam if not any(fnmatch(name, one) for name in weights)]
        if unused:
            raise UsageError(f"muon: adam: no weight is named like {unused[0]!r}; one is {next(iter(weights))!r}")
        self.hidden = {name for name, p in weights.items() if self.is_hidden(name, p)}
        if not self.hidden:
            raise UsageError(f"muon: no weight has {self.config.least} channels in and out (least): AdamW has them all")

    def is_hidden(self, name: str, p: Tensor) -> bool:
        wide = p.ndim in (2, 4) and min(p.shape[:2]) >= self.config.least
        return wide and not any(fnmatch(name, one) for one in self.config.adam)

    def begin(self, name: str, p: Tensor) -> dict[str, Tensor]:
        """Momentum of a hidden weight, moments of others."""
        return {"momentum": torch.zeros_like(p)} if name in self.hidden else adam.begin(p)

    def move(
        self, name: str, p: Tensor, grad: Tensor, state: Mapping[str, Tensor], t: Tensor, lr: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weight and its state after update t."""
        if name not in self.hidden:
            return adam.move(p, grad, state, t, lr, self.settings)
        momentum = state["momentum"].lerp(grad, 1 - self.config.momentum)
        looked = grad.lerp(momentum, self.config.momentum) if self.config.nesterov else momentum
        d = orthogonal(looked.flatten(1), self.config.steps)
        scale = RMS * max(d.shape) ** 0.5
        after = (p * (1 - lr * self.settings.weight_decay)).sub_(d.view_as(p), alpha=lr * scale)
        return after, {"momentum": momentum}


def orthogonal(g: Tensor, steps: int) -> Tensor:
    """About U V' of g = U S V' [O,I], by Newton-Schulz: its singular values are between 0.7 and 1.2 or so."""
    a, b, c = COEFFICIENTS
    wide = g.shape[0] <= g.shape[1]
    x = g if wide else g.T  # the smaller product is cheaper
    x = x / (x.norm() + SMALL)
    for _ in range(steps):
        s = x @ x.T
        x = a * x + (b * s + c * s @ s) @ x
    made: Tensor = x if wide else x.T
    return made
