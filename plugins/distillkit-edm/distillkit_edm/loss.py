"""EDM's training loss: makes a teacher from scratch.

    L = E lambda(sigma) |D(y + n; sigma) - y|^2,   ln sigma ~ N(P_mean, P_std^2),   n ~ N(0, sigma^2)
    lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2

y is a real image; its augmentation has labels that D is told. Source: arXiv:2206.00364: Eq. (2) weighted over noise
levels, as in Section 5, where Eq. (8) is the same in terms of F of Eq. (7); constants of Table 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from distillkit.api import Augment, Choice, GeneratorLoss, State, Step, check_augment, field, frozen, gt, hookimpl
from distillkit.noise import SIGMA_DATA, denoising_loss

if TYPE_CHECKING:
    from torch import Tensor


class EdmLoss(GeneratorLoss):
    """EDM: denoise real images at log-normal noise levels, to train a teacher (arXiv:2206.00364, Table 1)."""

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Denoising error on real images, each noise level weighted alike: it falls fast, then "
        "slowly for as long as training helps (on digits from 67 to 25). A rise says that the learning rate is too "
        "high.",
    }

    @frozen(kw_only=True)
    class Config:
        P_mean: float = -1.2  # mean of ln sigma
        P_std: float = field(default=1.2, validator=gt(0))  # standard deviation of ln sigma
        sigma_data: float = field(default=SIGMA_DATA, validator=gt(0))  # as in the network
        augment: Choice[Augment] | None = None  # of the training images; the network then needs its augment_dim

    # Table 1 and the CIFAR-10 row of Table 7; lr goes with a batch of 512.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "generator": {
            "init": "scratch",
            "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999], "warmup_kimg": 10_000.0},
            "ema_halflife_kimg": 500.0,
        },
        "sample": {"use": "heun"},
    }

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.augment = None if config.augment is None else config.augment.build()

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError when the network does not take the augmentation's labels."""
        check_augment(self.augment, state.generator)

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        """L, a sum over the pixels of each image [N]."""
        c = self.config
        sigma = step.lognormal_sigma(c.P_mean, c.P_std)
        y, augment_labels = (step.real, None) if self.augment is None else self.augment(step.real, step)
        D = state.generator(y + sigma * step.randn_like(y), sigma, step.labels, augment_labels)
        return denoising_loss(D, y, sigma, c.sigma_data).flatten(1).sum(1)
