"""First-order steps down the noise levels: Euler's method, and DDIM with its noise and its clipping."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from distillkit.api import Sample, Sampling, and_, field, frozen, ge, hookimpl, le
from distillkit.builtin.levels import Levels, denoised, levels, own_noise

if TYPE_CHECKING:
    from torch import Tensor


class Euler(Sample):
    """Euler's method, one call a step; also the steps of flow matching.

    x_r = D + (r / sigma) (x - D): flow matching's and DDIM's steps in their own coordinates are these.
    """

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
        x = t[0] * z.double()
        for sigma, r in pairwise(t):
            D = denoised(state.generator, x, sigma, labels, z.dtype)
            x = D + (r / sigma) * (x - D)
        return x.to(z.dtype)


class Ddim(Sample):
    """Euler's steps, with fresh noise or clamped images if asked (arXiv:2010.02502)."""

    tiny = {"steps": 3}

    @frozen(kw_only=True)
    class Config(Levels):
        eta: float = field(default=0.0, validator=and_(ge(0), le(1)))  # share of fresh noise; 0: none, 1: DDPM's
        clamp: bool = False  # clamp every D to [-1,1]: for images, not for latents

    config: Config

    @property
    def nfe(self) -> int:
        return self.config.count

    @hookimpl
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        """z [N,C,H,W] -> x; the fresh noise of an image is a function of state.seed and its own z."""
        c, t = self.config, levels(state.generator, self.config)
        noise = own_noise(z, state.seed) if c.eta else None
        x = t[0] * z.double()
        for i, (sigma, r) in enumerate(pairwise(t)):
            D = denoised(state.generator, x, sigma, labels, z.dtype)
            n = (x - D) / sigma  # as the network sees it, also where D is clamped
            # Eq. (12) and (16) in the variance-exploding form: fresh + kept = r^2.
            fresh = c.eta * (r / sigma) * max(sigma**2 - r**2, 0.0) ** 0.5
            x = (D.clamp(-1, 1) if c.clamp else D) + (r**2 - fresh**2) ** 0.5 * n
            if fresh and noise is not None:
                x = x + fresh * noise(i).to(x.dtype)
        return x.to(z.dtype)
