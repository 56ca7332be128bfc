"""What changes real images and tells the network how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distillkit.api.component import Component
from distillkit.api.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit.api.network import Denoiser
    from distillkit.api.step import Step


class Augment(Component):
    """Augmentation with its conditioning labels."""

    kind = "augment"
    augment_dim: int = 0

    def __call__(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """x [N,C,H,W] -> augmented x and augment_labels [N,A]; all randomness from `step.randn`, `step.rand`."""
        raise NotImplementedError


def check_augment(augment: Augment | None, network: Denoiser) -> None:
    """Raises UsageError where a network that is to train on augmented images does not take their labels."""
    if augment is not None and network.augment_dim != augment.augment_dim:
        raise UsageError(
            f"generator_loss.augment gives {augment.augment_dim} labels but the network has augment_dim = "
            f"{network.augment_dim}; write augment_dim = {augment.augment_dim} in its table"
        )
