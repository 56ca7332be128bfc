"""One network call per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distillkit.api import Sample, Sampling, field, frozen, gt, hookimpl
from distillkit.builtin.levels import toward

if TYPE_CHECKING:
    from torch import Tensor


class OneStep(Sample):
    """One call: x = G(sigma_init * z, sigma_init, labels)."""

    @frozen(kw_only=True)
    class Config:
        sigma_init: float = field(default=2.5, validator=gt(0))  # noise level the generator is asked at

    @hookimpl
    def sample(self, state: Sampling, z: Tensor, labels: Tensor | None) -> Tensor:
        sigma = z.new_full((z.shape[0], 1, 1, 1), self.config.sigma_init)
        return state.generator(sigma * z, sigma, labels, **toward(state.generator, 0.0))
