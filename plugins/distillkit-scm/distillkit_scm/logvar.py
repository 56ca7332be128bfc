"""u(sigma), the logarithm of the error that a loss expects at a noise level: the student's own, or a small head."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from distillkit.api import LogVar, State

FEATURES = 32


class LogVarHead(nn.Module):
    """u [N,1,1,1]: one linear layer on cosines and sines of ln sigma, 0 at first. It is no part of the student."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * FEATURES, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, sigma: Tensor) -> Tensor:
        """sigma [N,1,1,1]; wavelengths of ln sigma from 2 pi, a factor of 535, to a quarter of that."""
        waves = 4.0 ** torch.linspace(0, 1, FEATURES, device=sigma.device, dtype=sigma.dtype)
        angle = sigma.flatten().log().outer(waves)
        u: Tensor = self.linear(torch.cat([angle.cos(), angle.sin()], 1))
        return u.view(-1, 1, 1, 1)


def has_own(state: State) -> bool:
    """Whether the student estimates its error itself, as EDM2's networks do."""
    return isinstance(state.generator, LogVar) and state.generator.logvar_channels > 0


def expected(state: State, sigma: Tensor) -> Tensor:
    """u [N,1,1,1] of the student, where it has one."""
    return cast(LogVar, state.generator).logvar(sigma)
