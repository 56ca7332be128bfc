"""Flow matching: makes a teacher from scratch.

    L = E |F(x_t; t) - (n - y)|^2,   x_t = (1 - t) y + t n,   ln(t / (1 - t)) ~ N(t_mean, t_std^2)

y is a real image, n ~ N(0,1). sigma = t / (1 - t), and F = (x_t - D) / t of any denoiser D, so with x = y + sigma n

    L = E |D(x; sigma) - y|^2 / t^2.

Sources: arXiv:2210.02747, Eq. (14) on the straight path; times by arXiv:2403.03206, Section 3.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from distillkit.api import GeneratorLoss, State, Step, field, frozen, gt, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


class FlowMatching(GeneratorLoss):
    """Flow matching: learn the flow between data and noise, to train a teacher (arXiv:2210.02747)."""

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Squared error of the flow, of which most cannot be known from x_t: it falls fast at first, "
        "then slowly towards a level far above zero for as long as training helps.",
    }

    @frozen(kw_only=True)
    class Config:
        t_mean: float = 0.0  # mean of ln(t / (1 - t)), which is ln sigma
        t_std: float = field(default=1.0, validator=gt(0))  # standard deviation of it

    # Optimizer and average of arXiv:2401.08740, whose batch is 256: beta = 0.9999 for each.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "generator": {
            "init": "scratch",
            "optimizer": {"lr": 1e-4, "betas": [0.9, 0.999]},
            "ema_halflife_kimg": 1775.0,
        },
        "sample": {"use": "heun"},
    }

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        """L, a sum over the pixels of each image [N]."""
        sigma = step.lognormal_sigma(self.config.t_mean, self.config.t_std)
        y = step.real
        D = state.generator(y + sigma * step.randn_like(y), sigma, step.labels)
        t = sigma / (1 + sigma)
        return ((D - y) / t).square().flatten(1).sum(1)
