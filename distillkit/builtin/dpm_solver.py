"""DPM-Solver++(2M): second order at one call a step, by what the step before has seen."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from distillkit.api import Sample, Sampling, frozen, hookimpl
from distillkit.builtin.levels import Levels, denoised, levels

if TYPE_CHECKING:
    from torch import Tensor


class DpmSolver(Sample):
    """DPM-Solver++(2M): second order, one call a step (arXiv:2211.01095, Algorithm 2)."""

    tiny = {"steps": 3}

    @frozen(kw_only=True)
    class Config(Levels):
        pass

    config: Levels

    @property
    def nfe(self) -> int:
        return self.config.count

    @hookimpl
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        """Unit normal z [N,C,H,W] -> x [N,C,H,W], float64 outside the network."""
        t = levels(state.generator, self.config)
        x, before, h_before = t[0] * z.double(), None, 0.0
        for sigma, r in pairwise(t):
            D = denoised(state.generator, x, sigma, labels, z.dtype)
            # h = ln(sigma / r), the step in the logarithm of signal over noise; D is extrapolated to half of it.
            h = math.log(sigma / r) if r else 0.0
            ahead = D if before is None or not h_before else D + (h / (2 * h_before)) * (D - before)
            x = ahead + (r / sigma) * (x - ahead)
            before, h_before = D, h
        return x.to(z.dtype)
