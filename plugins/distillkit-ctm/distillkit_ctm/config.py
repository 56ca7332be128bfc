"""The keys of `ctm`, which `ctm-gan` has as well."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from distillkit.api import Choice, Embedding, and_, field, frozen, ge, gt, in_, le
from distillkit.distances import DISTANCES, wants_features
from distillkit.noise import RHO, SIGMA_DATA, SIGMA_MAX, SIGMA_MIN, rho_grid

if TYPE_CHECKING:
    from torch import Tensor


def _pattern(instance: Any, attribute: Any, value: str) -> None:
    if not re.fullmatch(r"[\w.*?\[\]-]*", value):
        raise ValueError(f"'last_layer' must be a name of weights, with * for any letters: {value!r}")


@frozen(kw_only=True)
class CtmConfig:
    N: int = field(default=18, validator=ge(3))  # points of the grid; 40: ImageNet-64
    h: int = field(default=17, validator=ge(1))
    """most Heun steps along the teacher at once, below N; 39: ImageNet-64, 20 with its GAN"""
    steps: str = field(default="weighted", validator=in_(("weighted", "fixed")))
    """Heun steps of an iteration: drawn, k as likely as k is large, or always h"""
    s: str = field(default="uniform", validator=in_(("uniform", "smallest")))
    """noise level where jumps meet: any of the grid below u, or its lowest"""
    solver: str = field(default="heun", validator=in_(("heun", "self")))
    """who takes x from t to u: Heun's method along the teacher, or a jump of the target, without a teacher"""
    outer: str = field(default="target", validator=in_(("target", "student")))
    """who takes the student's jump on to the image: the target, a constant, or the student"""
    mu: float = field(default=0.999, validator=[ge(0), le(1)])  # share of the target that stays, per iteration
    distance: str = field(default="l2", validator=in_(DISTANCES))  # between two images; published: lpips
    features: Choice[Embedding] | None = field(default=None, validator=wants_features)
    """network of the distance "lpips", such as lpips-vgg16"""
    huber_c: float = field(default=0.03, validator=ge(0))  # distance "huber": its width
    weight: str = field(default="uniform", validator=in_(("uniform", "jump")))
    """w of each pair: 1, or 1 / (1 - s/t)"""
    dsm: float = field(default=1.0, validator=ge(0))  # factor of the denoising loss; 0: none
    adaptive: bool = True
    """further losses are weighed by their gradients at the last layer; not with --shard"""
    last_layer: str = field(default="", validator=_pattern)
    """pattern of names of weights, of which w is the last; unset: the layer that a pass of the student calls last"""
    P_mean: float = -1.2  # denoising: mean of ln sigma, in half of the batch
    P_std: float = field(default=1.2, validator=gt(0))  # its standard deviation
    u_max: float = field(default=0.7, validator=and_(ge(0), le(1)))
    """denoising: how far down the rho-schedule noise levels of the other half go"""
    sigma_min: float = field(default=SIGMA_MIN, validator=gt(0))  # lowest noise level, epsilon, where jumps end
    sigma_max: float = field(default=SIGMA_MAX, validator=gt(0))  # highest noise level of the grid
    rho: float = field(default=RHO, validator=and_(ge(0.1), le(100.0)))
    """bend of the grid: larger, more steps at low noise"""
    sigma_data: float = field(default=SIGMA_DATA, validator=gt(0))  # as in the network; in the denoising loss's weight

    def __attrs_post_init__(self) -> None:
        if self.h >= self.N:
            raise ValueError(f"'h' must be below 'N' = {self.N}, which is a grid of {self.N - 1} steps: {self.h}")
        if not self.sigma_min < self.sigma_max:
            raise ValueError(f"'sigma_min' {self.sigma_min} must be below 'sigma_max' {self.sigma_max}")

    def grid(self, k: Tensor) -> Tensor:
        """t_k."""
        return rho_grid(k / (self.N - 1), self.sigma_min, self.sigma_max, self.rho)
