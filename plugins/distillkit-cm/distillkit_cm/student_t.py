"""Draws of Student's t distribution between two bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

POINTS = 2049  # of the table that is inverted: enough for five digits


def between(u: Tensor, df: float, low: float, high: float) -> Tensor:
    """Where the share u [...] in [0,1) of the distribution's mass on [low, high] lies below, of df degrees of freedom.

    At x = sqrt(df) sinh(s) its density in s is cosh(s)^-df but for a factor, smooth and, for small df, almost constant:
    trapezoids integrate it, and the table is inverted by interpolation.
    """
    first, last = (math.asinh(x / math.sqrt(df)) for x in (low, high))
    s = torch.linspace(first, last, POINTS, device=u.device, dtype=u.dtype)
    mass = torch.nn.functional.pad(torch.cumulative_trapezoid(s.cosh() ** -df, s), (1, 0))
    wanted = u * mass[-1]
    i = torch.searchsorted(mass, wanted, right=True).clamp(1, POINTS - 1)
    along = (wanted - mass[i - 1]) / (mass[i] - mass[i - 1])
    return math.sqrt(df) * torch.lerp(s[i - 1], s[i], along).sinh()
