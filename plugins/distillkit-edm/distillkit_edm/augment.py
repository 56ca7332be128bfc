"""EDM's augmentation with the labels that tell the network what was done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from distillkit.api import Augment, Step, field, frozen, ge
from distillkit_edm.warp import rotation, scaling, translation, warp

if TYPE_CHECKING:
    from torch import Tensor


class EdmAugment(Augment):
    """Non-leaking flips, scaling, rotation, stretching, shifts; 9 labels (arXiv:2206.00364, App. F.2)."""

    augment_dim = 9

    @frozen(kw_only=True)
    class Config:
        p: float = field(default=0.12, validator=ge(0))  # probability of each augmentation, times its own number below
        xflip: float = field(default=1e8, validator=ge(0))
        """mirror left to right; at the default always considered, so half of the images are"""
        yflip: float = field(default=1.0, validator=ge(0))  # mirror top to bottom
        scale: float = field(default=1.0, validator=ge(0))  # scale both axes alike
        rotate_frac: float = field(default=1.0, validator=ge(0))  # rotate
        aniso: float = field(default=1.0, validator=ge(0))  # stretch one axis, shrink the other
        translate_frac: float = field(default=1.0, validator=ge(0))  # shift
        scale_std: float = field(default=0.2, validator=ge(0))  # standard deviation of log2 of the scale
        rotate_frac_max: float = field(default=1.0, validator=ge(0))  # largest angle, as a share of a half turn
        aniso_std: float = field(default=0.2, validator=ge(0))  # standard deviation of log2 of the stretch
        aniso_rotate_prob: float = field(default=0.5, validator=ge(0))  # probability that a stretch has any direction
        translate_frac_std: float = field(default=0.125, validator=ge(0))
        """standard deviation of the shift, as a share of the image size"""

    def __call__(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """x [N,C,H,W] -> augmented x, labels [N,9]: xflip, yflip, scale, cos - 1, sin, stretch x, y, shift x, y."""
        x, flips = self._flipped(x, step)
        source, labels = self._source(x, step)
        return warp(x, source), torch.cat([flips, labels], dim=1)

    def _flipped(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        labels = []
        for axis, multiplier in ((3, self.config.xflip), (2, self.config.yflip)):
            w = self._kept((2 * step.rand(1, 1, 1)).floor(), multiplier, step.rand(1, 1, 1))
            x = torch.where(w == 1, x.flip(axis), x)
            labels.append(w.flatten(1))
        return x, torch.cat(labels, dim=1)

    def _source(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Where the result's pixels come from, matrices [N,3,3], and 7 labels [N,7]."""
        c, (H, W) = self.config, x.shape[2:]
        w = self._kept(step.randn(), c.scale, step.rand())
        factor = (-c.scale_std * w).exp2()
        source, labels = scaling(factor, factor), [w]

        angle = (2 * step.rand() - 1) * math.pi * c.rotate_frac_max
        angle = self._kept(angle, c.rotate_frac, step.rand())
        source, labels = source @ rotation(angle), [*labels, angle.cos() - 1, angle.sin()]

        w, axis = step.randn(), (2 * step.rand() - 1) * math.pi
        w = self._kept(w, c.aniso, step.rand())
        axis = torch.where(step.rand() < c.aniso_rotate_prob, axis, 0)
        factor = (-c.aniso_std * w).exp2()
        source = source @ rotation(-axis) @ scaling(factor, 1 / factor) @ rotation(axis)
        labels += [w * axis.cos(), w * axis.sin()]

        w = self._kept(step.randn(2), c.translate_frac, step.rand()[:, None])
        shift = -c.translate_frac_std * w
        source = source @ translation(shift[:, 0] * W, shift[:, 1] * H)
        return source, torch.stack([*labels, w[:, 0], w[:, 1]], dim=1)

    def _kept(self, value: Tensor, multiplier: float, u: Tensor) -> Tensor:
        """`value` with probability p * multiplier, otherwise 0 (= not transformed)."""
        return torch.where(u < multiplier * self.config.p, value, 0)
