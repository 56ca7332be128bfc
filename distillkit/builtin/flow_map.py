"""Jumps along the flow by a network that knows where each ends: flow maps, few steps by a list or a grid."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from distillkit.api import Sample, Sampling, and_, field, frozen, ge, hookimpl, le
from distillkit.builtin.levels import Levels, levels, own_noise, toward

if TYPE_CHECKING:
    from torch import Tensor


class FlowMap(Sample):
    """Jumps of a flow map, x_r = D(x; sigma, r) + (r / sigma) (x - D), each noised again by a share gamma.

    gamma = 0 follows the flow (MeanFlow, arXiv:2505.13447); above, the jump ends lower and noise brings x back, CTM's
    gamma-sampling (arXiv:2310.02279, Algorithm 3); 1 is the consistency models' and IMM's restart: every jump goes to
    the end.
    """

    tiny = {"steps": 2}

    @frozen(kw_only=True)
    class Config(Levels):
        steps: int = field(default=1, validator=and_(ge(1), le(64)))  # jumps of the grid
        gamma: float = field(default=0.0, validator=and_(ge(0), le(1)))  # share of fresh noise after each jump

    config: Config

    @property
    def nfe(self) -> int:
        return self.config.count

    @hookimpl
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        """z [N,C,H,W] -> x; the fresh noise of an image is a function of state.seed and its own z."""
        gamma, t = self.config.gamma, levels(state.generator, self.config)
        noise = own_noise(z, state.seed) if gamma else None
        x = t[0] * z.double()
        for i, (sigma, r) in enumerate(pairwise(t)):
            to = (1 - gamma**2) ** 0.5 * r
            level, asked = z.new_full((), sigma), state.generator
            D = asked(x.to(z.dtype), level, labels, **toward(asked, to)).to(x.dtype)
            x = D + (to / sigma) * (x - D)
            if noise is not None and r:
                x = x + gamma * r * noise(i).to(x.dtype)
        return x.to(z.dtype)
