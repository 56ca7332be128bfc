"""A few network calls per image: denoise, add less noise, denoise again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distillkit.api import Sample, Sampling, deep_iterable, field, frozen, ge, gt, hookimpl, min_len
from distillkit.api.rollout import falling
from distillkit.builtin.levels import few, own_noise, toward
from distillkit.noise import SIGMA_MIN

if TYPE_CHECKING:
    from torch import Tensor


class FewStep(Sample):
    """Consistency models' sampler: jump to x, noise it again, jump again (arXiv:2303.01469, Algorithm 1)."""

    @frozen(kw_only=True)
    class Config:
        sigmas: tuple[float, ...] = field(default=(80.0,), validator=[min_len(1), few, deep_iterable(gt(0)), falling])
        """noise levels of the jumps, falling; one: a single network call"""
        sigma_min: float = field(default=SIGMA_MIN, validator=ge(0))
        """lowest noise level; a jump adds sqrt(sigma^2 - sigma_min^2) of noise; ECT: 0"""
        clamp: bool = True  # clamp images to [-1,1] after every jump; ECT: false

    config: Config

    @property
    def nfe(self) -> int:
        return len(self.config.sigmas)

    @hookimpl
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        """z [N,C,H,W] -> x; the noise after the first jump is a function of state.seed and the image's own z."""
        c = self.config
        noise = own_noise(z, state.seed) if self.nfe > 1 else None
        x = c.sigmas[0] * z
        for i, sigma in enumerate(c.sigmas):
            if i and noise is not None:
                x = x + max(sigma**2 - c.sigma_min**2, 0.0) ** 0.5 * noise(i).to(x.dtype)
            x = state.generator(x, z.new_full((z.shape[0], 1, 1, 1), sigma), labels, **toward(state.generator, 0.0))
            x = x.clamp(-1, 1) if c.clamp else x
        return x
