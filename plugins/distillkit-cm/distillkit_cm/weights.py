"""Weights of noise levels."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.noise import SIGMA_DATA

WEIGHTS = ("uniform", "karras", "snr", "snr+1", "truncated-snr", "step", "root", "c_out")


def weight(name: str, t: Tensor, r: Tensor, sigma_data: float = SIGMA_DATA) -> Tensor:
    """lambda [N] of the step from noise level t down to r, both [N,1,1,1]. Source: arXiv:2303.01469's code."""
    snr = t.flatten() ** -2
    if name == "step":  # arXiv:2310.14189, Sec. 3.1
        return 1 / (t - r).flatten()
    if name == "root":  # these two are in FastGen's code
        return (t - r).flatten() ** -0.5
    if name == "c_out":
        return (snr + sigma_data**-2).sqrt()
    if name == "truncated-snr":
        return snr.clamp(min=1)
    more = {"uniform": torch.ones_like(snr), "karras": snr + sigma_data**-2, "snr": snr, "snr+1": snr + 1}
    return more[name]
