"""Velocities of denoisers on the straight path z = (1 - t) y + t n, at t and on the average from t down to r.

x = z / (1 - t) has noise of sigma = t / (1 - t), and D(x; sigma, r), which jumps from there to r / (1 - r), stands for

    u(z, t, r) = (z - D) / t,   so that z - (t - r) u is what the jump ends at, on the path.

t, r [N,1,1,1] with 0 <= r <= t < 1 and t > 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distillkit.api import Step


def velocity(
    D: Any, z: Tensor, t: Tensor, labels: Tensor | None, r: Tensor | None = None, augment_labels: Tensor | None = None
) -> Tensor:
    """u(z, t, r) [N,C,H,W] of z [N,C,H,W]; without r the velocity at t, which a plain denoiser has as well."""
    to: dict[str, Any] = {} if r is None else {"r": r / (1 - r)}
    if augment_labels is not None:
        to["augment_labels"] = augment_labels
    said: Tensor = D(z / (1 - t), t / (1 - t), labels, **to)
    return (z - said) / t


def rate(
    step: Step, u: Callable[[Tensor, Tensor], Tensor], z: Tensor, v: Tensor, t: Tensor, h: float | None = None
) -> tuple[Tensor, Tensor]:
    """u(z, t) and, without gradient, its du/dt = v grad_z u + d_t u; with h by a difference over times t +- h."""
    ends = None
    if h is not None:
        near = torch.minimum(t, 1 - t).mul(0.5).clamp(max=h)  # times stay within 0 and 1
        ends = -near, near
    return step.jvp(u, (z, t), (v, torch.ones_like(t)), ends)
