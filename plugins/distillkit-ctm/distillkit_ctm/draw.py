"""Which jumps a batch makes: from t to u along the teacher, and from both to s; (b) of ctm.py, and x_t of (c)."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, NamedTuple

import torch

from distillkit.api import State, Step
from distillkit.noise import fold

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit_ctm.config import CtmConfig


class Draw(NamedTuple):
    """Images x_t [N,C,H,W] at t, and noise levels [N,1,1,1] t > u >= s; t = t_i, u = t_(i+h)."""

    x_t: Tensor
    t: Tensor
    u: Tensor
    s: Tensor
    i: Tensor
    h: int


def draw(c: CtmConfig, state: State, step: Step) -> Draw:
    """(b), and y + t n."""
    h, last = steps(c, state.seed, step), c.N - 1
    i = among(step, 0.0, last - h)
    j = among(step, i + h, last) if c.s == "uniform" else torch.full_like(i, last)
    t, u, s = (c.grid(k) for k in (i, i + h, j))
    return Draw(step.real + t * step.randn_like(step.real), t, u, s, i, h)


def steps(c: CtmConfig, seed: int, step: Step) -> int:
    """h, by arithmetic of the host: the same in all processes, and nothing waits for the device."""
    if c.steps == "fixed":
        return c.h
    k = fold(seed, f"{step.turn}/h", step.nimg) % (c.h * (c.h + 1) // 2)
    return (1 + isqrt(1 + 8 * k)) // 2  # 0 -> 1;  1, 2 -> 2;  3, 4, 5 -> 3 ...


def among(step: Step, low: Tensor | float, high: int) -> Tensor:
    """Whole numbers [N,1,1,1], each of low ... high as likely."""
    return (low + (high - low + 1) * step.rand(1, 1, 1)).floor().clamp(max=high)
