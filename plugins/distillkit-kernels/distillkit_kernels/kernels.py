"""Kernels as profiles of r: the scaled squared distance, or the scaled inner product."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from distillkit.api import Kernel, deep_iterable, field, frozen, gt, min_len


class Rbf(Kernel):
    """Gaussian kernel, mean over scales m of exp(-r / m) (Gretton et al., JMLR 13, 2012)."""

    @frozen(kw_only=True)
    class Config:
        scales: tuple[float, ...] = field(
            default=(0.25, 0.5, 1.0, 2.0, 4.0), validator=[min_len(1), deep_iterable(gt(0))]
        )
        """widths, as factors m of the squared bandwidth"""

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        scales = sorted(self.config.scales, reverse=True)
        weight = 1 / len(scales)
        e = (r / -scales[0]).exp_()
        k, dk = e * weight, e * (-weight / scales[0])
        for wider, m in itertools.pairwise(scales):
            e = e.square_() if wider == 2 * m else (r / -m).exp_()  # exp(-r/m) = exp(-r/2m)^2
            k.add_(e, alpha=weight)
            dk.sub_(e, alpha=weight / m)
        return k, dk


class Laplace(Kernel):
    """Laplace kernel exp(-sqrt(r) / m), heavier tails than `rbf` (used by IMM, arXiv:2503.07565)."""

    @frozen(kw_only=True)
    class Config:
        scale: float = field(default=1.0, validator=gt(0))  # factor m of the bandwidth

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        root = r.sqrt_()
        k = (root / -self.config.scale).exp_()
        return k, k * _over_root(root, -0.5 / self.config.scale)


class Imq(Kernel):
    """Inverse multiquadric kernel 1 / sqrt(1 + r / m): a gradient that reaches far."""

    @frozen(kw_only=True)
    class Config:
        scale: float = field(default=1.0, validator=gt(0))  # factor m of the squared bandwidth

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        m = self.config.scale
        k = r.div_(m).add_(1).rsqrt_()
        return k, k.pow(3).mul_(-0.5 / m)


class Energy(Kernel):
    """Energy kernel -sqrt(r), without a bandwidth: the MMD is the energy distance (arXiv:1207.6076)."""

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        root = r.sqrt_()
        return -root, _over_root(root, -0.5)


class Linear(Kernel):
    """Inner product: the biased squared MMD is the squared difference of mean features (arXiv:2110.04181)."""

    radial = False

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return r, torch.ones_like(r)


def _over_root(root: Tensor, factor: float) -> Tensor:
    """factor / root, and 0 where root is 0: equal points do not push each other (a subgradient)."""
    return torch.where(root == 0, 0, factor / root)
