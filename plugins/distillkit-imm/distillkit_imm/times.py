"""What IMM computes of its times alone, float64 of any shape; letters and equations are those of imm.py."""

from __future__ import annotations

import torch
from torch import Tensor

ETA_MAX = 160.0  # range of eta that 2^k steps go down


def earlier(t: Tensor, s: Tensor, k: float, min_gap: float) -> Tensor:
    """r of (a); t - r is at least `min_gap` where s is not nearer."""
    eta = (t / (1 - t) - ETA_MAX / 2**k).clamp(min=0)
    return torch.maximum(s, torch.minimum(t - min_gap, eta / (1 + eta)))


def c_out(t: Tensor, s: Tensor, sd: float, form: str) -> Tensor:
    """How far the output of the network moves f: (e)."""
    gap = sd * (t - s)
    return gap / q2(t).sqrt() if form == "simple-edm" else gap


def weight(t: Tensor, a: float, b: float) -> Tensor:
    """w of (f), with dlambda/dt = -2 / (t (1 - t))."""
    lambda_ = 2 * ((1 - t) / t).log()
    return 0.5 * torch.sigmoid(b - lambda_) * 2 / (t * (1 - t)) * (1 - t) ** a / q2(t)


def q2(t: Tensor) -> Tensor:
    return (1 - t) ** 2 + t**2
