"""The teacher as methods and samplers call it: `state.teacher_score`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import Denoiser, UsageError

if TYPE_CHECKING:
    from distillkit.train.state import State


class Relay:
    """The hook `teacher_score` with its wrappers, called like a network."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.scale: Tensor | None = None  # [N,1,1,1] of the guidance, of images that come with their own

    @property
    def network(self) -> Denoiser | None:
        """The teacher's, without guidance; None where the teacher is in closed form, or there is none."""
        return None if self._state.teacher is None else self._state.teacher.network

    @property
    def sigma_min(self) -> float:
        """Of the teacher's network; 0 where the teacher is in closed form."""
        return 0.0 if self.network is None else self.network.sigma_min

    @property
    def sigma_max(self) -> float:
        """Of the teacher's network; infinite where the teacher is in closed form."""
        return math.inf if self.network is None else self.network.sigma_max

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """Denoise x [N,C,H,W] at sigma [N,1,1,1], or anything that broadcasts to it -> D [N,C,H,W].

        Raises UsageError where the recipe has no teacher.
        """
        # One noise level per image, whatever came: guidance and teachers are written for [N,1,1,1] alone.
        level = sigma if isinstance(sigma, Tensor) else x.new_full((), sigma)
        level = level.reshape(-1, 1, 1, 1).expand(len(x), 1, 1, 1)
        # Through the hook, not the network: guidance wraps it, and is then in every call of the teacher.
        before, (labels, self.scale) = self.scale, self._apart(labels)
        try:
            D: Tensor | None = self._state.hook.teacher_score(state=self._state, x=x, sigma=level, labels=labels)
        finally:
            self.scale = before
        if D is None:
            raise UsageError("a part of this recipe asks the teacher: the recipe needs a [teacher_score] table")
        return D

    def _apart(self, labels: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Labels [N,L] as the teacher knows them, and the scales [N,1,1,1] that they came with; None: none did."""
        layout = self._state.layout
        if labels is None or not layout.guidance or labels.shape[1] != layout.size:
            return labels, None
        return labels[:, :-1] if layout.size > 1 else None, labels[:, -1].view(-1, 1, 1, 1)


def labels_of(state: State, index: Tensor, turn: str, first: int) -> Tensor | None:
    """Labels [n,L] of images of the data set, rows first ... first+n-1 of a turn: each with its guidance scale.

    Where the teacher's guidance has a range of scales, these are uniform in it, by seed and row.
    """
    # A stream of its own: a range of scales leaves every other number of the step as it was.
    labels = state.dataset.labels(index)
    if labels is None or state.guidance is None:
        return labels
    low, high = state.guidance.scales or (1.0, 1.0)
    u = noise.rows("rand", state.seed, f"{turn}/guidance", state.nimg + first, len(index), (), labels.device)
    return scaled(state, labels, low + (high - low) * u)


def scaled(state: State, labels: Tensor | None, scale: Tensor | None = None) -> Tensor | None:
    """Labels [N,L] of the data set as the student gets them: with a guidance scale [N], or the usual one."""
    if labels is None or state.guidance is None:
        return labels
    # Pictures and metrics ask for no scale: their labels are the data set's.
    usual = labels.new_full((len(labels),), state.guidance.usual_scale)
    return torch.cat([labels, (usual if scale is None else scale.to(labels))[:, None]], dim=1)
