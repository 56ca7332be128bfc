"""LSG, long and short guidance: SiD with a fake score that is guided as the teacher is.

Letters as in sid.py; D_psi(x) is the fake score without a label.

    (a)  D_fake = D_psi(x) + kappa (D_psi(x, c) - D_psi(x))

kappa is kappa_1 while the fake score trains and kappa_2 = kappa_3 in the generator's loss; kappa_4 is the scale of the
teacher's guidance. Published: all alike, 1.5 to 4.5, with alpha = 1.
Source: arXiv:2406.01561, in the form of its authors' code (github.com/mingyuanzhou/SiD-LSG).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from distillkit.api import State, UsageError
from distillkit_sid.config import SidConfig


def guided(fake_score: Callable[..., Tensor], layout: Any, kappa: float) -> Callable[..., Tensor]:
    """(a), of x, sigma, labels and labels of an augmentation; `layout`: that of the labels."""

    def denoise(x: Tensor, sigma: Tensor, labels: Tensor | None, augment_labels: Tensor | None = None) -> Tensor:
        D0 = fake_score(x, sigma, None if labels is None else layout.without_words(labels), augment_labels)
        return D0.lerp(fake_score(x, sigma, labels, augment_labels), kappa)

    return denoise


def check(c: SidConfig, state: State) -> None:
    """Raises UsageError for guidance without labels, and for two kappas in one pass."""
    if (c.kappa_critic, c.kappa_generator) == (1, 1):
        return
    if not state.dataset.label_dim:
        raise UsageError("generator_loss: kappa is guidance of the fake score by labels, and there are none")
    if c.shared_forward and c.kappa_critic != c.kappa_generator:
        raise UsageError("generator_loss: shared_forward makes one pass for both losses: give one kappa twice")
