"""The keys that sCT and sCD share, by the letters of scm.py."""

from __future__ import annotations

from distillkit.api import INFINITE, and_, field, frozen, ge, gt, lt, optional
from distillkit_scm.levels import ends


@frozen(kw_only=True)
class ScmConfig:
    P_mean: float = -1.0  # mean of ln s
    P_std: float = field(default=1.4, validator=gt(0))  # standard deviation of ln s
    sigma_min: float = field(default=0.002, validator=gt(0))  # lowest noise level
    sigma_max: float = field(default=80.0, validator=gt(0))  # highest noise level; published for sct: 800
    warmup_kimg: float = field(default=5120.0, validator=ge(0), metadata=INFINITE)
    """images in which r, the share of the trajectory's derivative, rises from 0 to 1: T; inf: r is 0 for good"""
    h: float | None = field(default=None, validator=optional(and_(ge(1e-6), lt(1))))
    """(b) by a difference over ln s +- h, for networks without forward mode; FastGen: 0.001; unset: in forward mode"""
    c: float = field(default=0.1, validator=gt(0))  # added to the size of g
    per_pixel: bool = True
    """|g| and L are divided by the numbers of an image, as in FastGen; false: by none, as in the paper"""
    prior: bool = True  # whether L has the weight 1 / s
    adaptive: bool = True  # whether u(s) trains; false: 0, each level has the weight that it is drawn with

    def __attrs_post_init__(self) -> None:
        if not self.sigma_min < self.sigma_max:
            raise ValueError(f"'sigma_min' {self.sigma_min} must be below 'sigma_max' {self.sigma_max}")
        a, b = ends(self.P_mean, self.P_std, self.sigma_min, self.sigma_max)
        if b - a < 1e-6:
            raise ValueError(f"'P_mean' {self.P_mean} and 'P_std' {self.P_std} leave no noise level between the cuts")
