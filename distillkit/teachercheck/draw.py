"""What a teacher draws: one step and eighteen side by side, beside real images and what it makes of noisy ones."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import Dataset
from distillkit.images import pictures
from distillkit.noise import SIGMA_MAX, SIGMA_MIN
from distillkit.teachercheck.asked import Ask, Real

STEPS = 18  # of Heun's method, as EDM draws (arXiv:2206.00364)
COLUMNS = 8
POINTS = 300  # in the place of images


def first(real: Real) -> slice:
    """The images that are drawn beside."""
    return slice(POINTS if real.y.shape[1:] == (2, 1, 1) else COLUMNS)


def starts(real: Real) -> tuple[Tensor, Tensor | None]:
    """Unit noise [n,C,H,W], and labels [n,L] of real images."""
    n = len(real.y[first(real)])
    z = noise.rows("randn", 0, "check-teacher/draw", 0, n, tuple(real.y.shape[1:]))
    return z.to(real.y), None if real.labels is None else real.labels[:n]


def heun(ask: Ask, z: Tensor, labels: Tensor | None, low: float, high: float) -> Tensor:
    """Images [n,C,H,W] by 35 calls, at noise levels that the teacher was made for."""
    u = torch.linspace(0, 1, STEPS, dtype=torch.float64)
    t = noise.rho_grid(u, max(low, SIGMA_MIN), min(high, SIGMA_MAX)).tolist()

    def denoise(x: Tensor, level: float, labels: Tensor | None) -> Tensor:
        return ask(x.to(z.dtype), level, labels).to(x.dtype)

    x = z.double() * t[0]
    for now, then in pairwise(t):
        x = noise.heun_step(denoise, x, now, then, labels)
    return denoise(x, t[-1], labels).to(z.dtype)


def sheet(path: Path, rows: dict[str, Tensor], data: Dataset, title: str) -> Path:
    """Write the rows, each [n,C,H,W], as pixels."""
    shown = {name: data.decode(x.float().cpu()) for name, x in rows.items()}
    return pictures.side_by_side(shown, path, title=title)
