"""Jumps along the flow by a network that knows where each ends: flow maps, few steps by a list or a grid."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from distillkit.api import Sample, Sampling, added_later, and_, field, frozen, ge, hookimpl, le
from distillkit.builtin.levels import Levels, levels, own_noise, toward

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit.api import Denoise


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
        end: float = field(default=0.0, validator=ge(0), metadata=added_later(as_before=0.0))
        """noise level of the last jump, below which the student was not trained; what is there is x shift / (shift +
        end), as on the paths of flow matching"""
        guidance: float = field(default=1.0, validator=ge(0), metadata=added_later(as_before=1.0))
        """of the student, by its own answer without labels, as the teacher's classifier-free guidance is; 1: none"""

    config: Config

    @property
    def nfe(self) -> int:
        return self.config.count * (1 if self.config.guidance == 1 else 2)

    @hookimpl
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        """z [N,C,H,W] -> x; the fresh noise of an image is a function of state.seed and its own z."""
        gamma, t = self.config.gamma, self.levels(state.generator)
        noise = own_noise(z, state.seed) if gamma else None
        x = t[0] * z.double()
        for i, (sigma, r) in enumerate(pairwise(t)):
            to = max((1 - gamma**2) ** 0.5 * r, t[-1])
            D = self.denoised(state.generator, x.to(z.dtype), sigma, to, labels).to(x.dtype)
            x = D + (to / sigma) * (x - D)
            if to == t[-1] > 0:
                x = x * (self.config.shift / (self.config.shift + to))
            if noise is not None and r > t[-1]:
                x = x + gamma * r * noise(i).to(x.dtype)
        return x.to(z.dtype)

    def levels(self, net: Denoise) -> list[float]:
        """t_0 > ... > t_n, the last of which is `end`."""
        c = self.config
        if not c.end:
            return levels(net, c)
        if c.sigmas:
            return [*levels(net, c)[:-1], c.end]
        return levels(net, attrs.evolve(c, steps=c.steps + 1, sigma_min=c.end))[:-1]

    def denoised(self, net: Denoise, x: Tensor, sigma: float, to: float, labels: Tensor | None) -> Tensor:
        """D of the jump from sigma to `to`, guided: D without labels + guidance (D with them - D without)."""
        level, w = x.new_full((), sigma), self.config.guidance
        D = net(x, level, labels, **toward(net, to))
        return D if w == 1 else w * D + (1 - w) * net(x, level, None, **toward(net, to))
