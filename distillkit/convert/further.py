"""A further input of a network, such as a second time: what it adds to an embedding is zero until it trains."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FREQUENCIES = 32  # sines and cosines together


class Further(nn.Module):
    """A number for each image [N] -> [N,width], to be added to a network's embedding.

    Its last layer is zero at first, so a network with it computes what one without does: a student may start from the
    weights of a teacher that lacks it, and nobody has to allow these weights by name.
    """

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(FREQUENCIES, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, value: Tensor) -> Tensor:
        """value [N], of any size: what is fed are waves of its inverse hyperbolic sine, a logarithm that knows 0."""
        dtype = self.first.weight.dtype
        omega = 2.0 ** torch.linspace(-1, 3, FREQUENCIES // 2, dtype=torch.float32, device=value.device)
        # In float32 at least: bfloat16 would round the angles.
        angles = math.pi * torch.asinh(value.float())[:, None] * omega
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(dtype)
        added: Tensor = self.last(nn.functional.silu(self.first(waves)))
        return added

    @property
    def silent(self) -> bool:
        """Whether it adds nothing yet."""
        return self.last.weight.is_meta or not (self.last.weight.any() or self.last.bias.any())
