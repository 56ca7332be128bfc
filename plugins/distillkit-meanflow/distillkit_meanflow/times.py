"""Pairs of times: t where an image is, r where the average velocity leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distillkit.api import State, Step, field, frozen, ge, gt, in_, le

if TYPE_CHECKING:
    from torch import Tensor


@frozen(kw_only=True)
class Times:
    """How t and r are drawn."""

    t_mean: float = -0.4  # P_mean of t: mean of ln t/(1-t); CIFAR-10: -0.6, or -2 with order = "sorted"
    t_std: float = field(default=1.0, validator=gt(0))  # P_std of t: its standard deviation; CIFAR-10: 1.6, or 2
    r_mean: float = -0.4  # P_mean of r; CIFAR-10: -4, or -2
    r_std: float = field(default=1.0, validator=gt(0))  # P_std of r
    t_max: float = field(default=1.0, validator=[gt(0), le(1)])  # what both are multiplied with; FastGen's code: 0.999
    ratio: float = field(default=0.25, validator=[ge(0), le(1)])  # share of images with r below t; CIFAR-10: 0.75
    order: str = field(default="sorted", validator=in_(("sorted", "clipped")))
    """how r comes below t: the later of the two is t, as in the paper, or r is at most t, as in its newer code"""
    rows: str = field(default="drawn", validator=in_(("drawn", "first")))
    """which images have r = t, and which lose their label: each by a number of its own, or as many of the first ones
    of a pass, the same for both, as in FastGen's code"""

    def draw(self, state: State, step: Step) -> tuple[Tensor, Tensor]:
        """t and r [N,1,1,1], 0 < r <= t < 1."""
        sigma = step.lognormal_sigma(self.t_mean, self.t_std), step.lognormal_sigma(self.r_mean, self.r_std)
        t, r = (self.t_max * s / (1 + s) for s in sigma)
        same = chosen(state, step, 1 - self.ratio, self.rows)
        if self.order == "sorted":
            t, r = torch.maximum(t, r), torch.minimum(t, r)
            return t, torch.where(same, t, r)
        return t, torch.where(same, t, torch.minimum(t, r))


def chosen(state: State, step: Step, share: float, rows: str) -> Tensor:
    """bool [N,1,1,1]: a share of the images, each by chance or, rows "first", as many of the first ones of a pass."""
    drawn = step.rand(1, 1, 1) < share
    if rows == "drawn":
        return drawn
    size = step.batch if state.micro_batch == state.batch else state.micro_batch
    place = (step.first + torch.arange(step.n, device=drawn.device)) % size
    count = size * step.mean(drawn.to(torch.get_default_dtype()))
    return place.view(-1, 1, 1, 1) + 0.5 < count
