"""Distances between two batches of images, and the weights of noise levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distillkit.noise import SIGMA_DATA

DISTANCES = ("l2", "l1", "huber", "lpips")
WEIGHTS = ("uniform", "karras", "snr", "snr+1", "truncated-snr", "step")


def distance(name: str, a: Tensor, b: Tensor, c: float = 0.0, phi: nn.Module | None = None) -> Tensor:
    """d(a, b) [N] of images [N,C,H,W]: means over pixels, or

    "huber": sqrt(|a - b|^2 + c^2) - c, arXiv:2310.14189, Sec. 3.3;
    "lpips": |phi(a) - phi(b)|^2 of the features phi, images -> [N,D], which is Eq. (1) of arXiv:1801.03924.
    """
    if name == "lpips":
        assert phi is not None, "the config asks for features"
        gap: Tensor = phi(a) - phi(b)
        return gap.square().sum(1)
    gap = (a - b).flatten(1)
    if name == "huber":
        return (gap.square().sum(1) + c**2).sqrt() - c
    return gap.square().mean(1) if name == "l2" else gap.abs().mean(1)


def weight(name: str, t: Tensor, r: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """lambda [N] of the step from noise level t down to r, both [N,1,1,1]. Source: arXiv:2303.01469's code."""
    snr = t.flatten() ** -2
    if name == "step":  # arXiv:2310.14189, Sec. 3.1
        return 1 / (t - r).flatten()
    if name == "truncated-snr":
        return snr.clamp(min=1)
    more = {"uniform": torch.ones_like(snr), "karras": snr + sigma_data**-2, "snr": snr, "snr+1": snr + 1}
    return more[name]
