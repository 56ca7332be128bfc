"""Noise levels, their weights, and counter-based randomness: the maths that every method shares."""

from __future__ import annotations

from distillkit.noise.counters import BLOCK, fold, rows
from distillkit.noise.levels import (
    RHO,
    SIGMA_DATA,
    SIGMA_MAX,
    SIGMA_MIN,
    denoising_loss,
    edm_weight,
    heun_step,
    lognormal,
    rho_grid,
)
from distillkit.noise.masks import dropout, in_a_pass, masks, masks_again, masks_from_here, masks_kept, masks_of
from distillkit.noise.order import shuffled

__all__ = [
    "BLOCK",
    "RHO",
    "SIGMA_DATA",
    "SIGMA_MAX",
    "SIGMA_MIN",
    "denoising_loss",
    "dropout",
    "edm_weight",
    "fold",
    "heun_step",
    "in_a_pass",
    "lognormal",
    "masks",
    "masks_again",
    "masks_from_here",
    "masks_kept",
    "masks_of",
    "rho_grid",
    "rows",
    "shuffled",
]
