"""EDM2's training loss: makes a teacher from scratch. Equation numbers are the paper's.

    (15)  lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2
    (16)  ln sigma ~ N(P_mean, P_std^2)
    (21)  L(D, u) = E (lambda(sigma) / e^u(sigma)) |D(y + n; sigma) - y|^2 + u(sigma)

u(sigma) is the logarithm of the error that the network expects of itself. As in the code, u counts once per pixel.
Source: arXiv:2312.02696, Appendix B.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from distillkit.api import GeneratorLoss, LogVar, State, Step, UsageError, field, frozen, gt, hookimpl
from distillkit.noise import SIGMA_DATA, denoising_loss

if TYPE_CHECKING:
    from torch import Tensor


class Edm2Loss(GeneratorLoss):
    """EDM2: denoise real images, each noise level weighted by its expected error (arXiv:2312.02696)."""

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Denoising error on real images, in the error that the network expects of itself, and the "
        "logarithm of that: it falls, below 0 as well, fast and then slowly for as long as training helps.",
    }

    @frozen(kw_only=True)
    class Config:
        P_mean: float = -0.4  # mean of ln sigma; 64x64 pixels: -0.8
        P_std: float = field(default=1.0, validator=gt(0))  # standard deviation of ln sigma; 64x64 pixels: 1.6
        sigma_data: float = field(default=SIGMA_DATA, validator=gt(0))  # as in the network

    # Size xs on latents: lr goes with a batch of 2048; the EMA has a width of 10 % of the run.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "generator": {
            "init": "scratch",
            "optimizer": {
                "lr": 1.2e-2, "betas": [0.9, 0.99], "warmup_kimg": 10_000.0,
                "schedule": "inverse_sqrt", "ref_kimg": 143_360.0,
            },
            "ema": "power",
            "ema_gamma": 6.94,
        },
        "sample": {"use": "heun", "steps": 32},
    }  # fmt: skip

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError when the network does not estimate its error."""
        if not (isinstance(state.generator, LogVar) and state.generator.logvar_channels):
            raise UsageError(
                'generator_loss "edm2" needs a network that estimates its error; '
                'write use = "edm2" in [generator.network], without logvar_channels = 0'
            )

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        """Eq. (21), a sum over the pixels of each image [N]."""
        c, y = self.config, step.real
        sigma = step.lognormal_sigma(c.P_mean, c.P_std)
        D = state.generator(y + sigma * step.randn_like(y), sigma, step.labels)
        u = cast(LogVar, state.generator).logvar(sigma)
        return denoising_loss(D, y, sigma, c.sigma_data, u).flatten(1).sum(1)
