"""Guidance: the teacher's denoised image, moved away from that of a weaker one."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import torch
from attrs import frozen as plain
from torch import Tensor

from distillkit.api import (
    FILE,
    Guidance,
    State,
    UsageError,
    added_later,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    min_len,
    optional,
)

WHERE = "[teacher_score.guidance] classifier-free"


@plain
class ScaleOrRange:
    """A scale that is not negative, or two of them, the lower one first."""

    compare_op: str = ">="
    bound: float = 0

    def __call__(self, instance: Any, attribute: Any, value: float | tuple[float, float]) -> None:
        low, high = value if isinstance(value, tuple) else (value, math.inf)
        if not 0 <= low < high:
            raise ValueError(f"'{attribute.name}' must be a number >= 0, or [low, high] of such: {value!r}")


def guided(D0: Tensor, D: Tensor, scale: Tensor | float) -> Tensor:
    """D0 + scale (D - D0) [N,C,H,W], scale a number or [N,1,1,1]."""
    return D0.lerp(D, scale.to(D.dtype) if isinstance(scale, Tensor) else scale)


class ClassifierFree(Guidance):
    """Classifier-free: away from the same teacher without a label (arXiv:2207.12598); doubles its cost.

    D = D_uncond + scale (D_cond - D_uncond). The teacher must have been trained with labels left out now and then. Only
    between two noise levels: arXiv:2404.07724. A range of scales: the student learns all of them, as a further input.
    """

    @frozen(kw_only=True)
    class Config:
        scale: float | tuple[float, float] = field(default=1.5, validator=ScaleOrRange())
        """strength of the guidance; 1: none at all; the paper's w is scale - 1. [low, high]: each image has its own"""
        sample_scale: float | None = field(default=None, validator=optional(ge(0)), metadata=added_later(None))
        """with a range: the scale of pictures, metrics and samples; unset: the middle of it"""
        sigma_low: float = field(default=0.0, validator=ge(0), metadata=added_later(0.0))
        """noise levels up to this one are not guided"""
        sigma_high: float = field(default=math.inf, validator=gt(0), metadata=added_later(math.inf))
        """noise levels above this one are not guided"""
        negative: str | None = field(default=None, validator=optional(min_len(1)), metadata=added_later(None))
        """words to guide away from, in place of no label: a prompt, or the name of a class"""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if config.sigma_low >= config.sigma_high:
            raise UsageError(f"{WHERE}: sigma_low = {config.sigma_low:g} is not below sigma_high")
        if config.sample_scale is not None and not self._takes(config.sample_scale):
            raise UsageError(f"{WHERE}: sample_scale = {config.sample_scale:g} is not in a range scale = [low, high]")
        self._negative: Tensor | None = None  # row [1,L]
        self._inner = False  # whether the teacher is asked from here

    def _takes(self, scale: float) -> bool:
        return self.scales is not None and self.scales[0] <= scale <= self.scales[1]

    @property
    def scales(self) -> tuple[float, float] | None:
        """The range, where there is one."""
        return self.config.scale if isinstance(self.config.scale, tuple) else None

    @property
    def usual_scale(self) -> float:
        return super().usual_scale if self.config.sample_scale is None else self.config.sample_scale

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError without labels to leave out, or for negative words that nothing is known of."""
        if not state.dataset.label_dim:
            raise UsageError(f"{WHERE} needs labels, and the data set has none")
        if self.config.negative is not None:
            self._negative = state.embed_words([self.config.negative])

    @hookimpl(wrapper=True)
    def teacher_score(
        self, state: State, x: Tensor, sigma: Tensor, labels: Tensor | None
    ) -> Generator[None, Tensor, Tensor]:
        D = yield
        if labels is None or self._inner:
            return D
        self._inner = True
        try:
            away = self._negative
            D0 = state.teacher_score(x, sigma, None if away is None else away.to(labels).expand(len(x), -1))
        finally:
            self._inner = False
        return guided(D0, D, self._scale(state, sigma))

    def _scale(self, state: State, sigma: Tensor) -> Tensor | float:
        """Of each image: its own, or the one of all; 1 outside of the noise levels that are guided."""
        c = self.config
        own: Tensor | None = state.guidance_scale
        scale: Tensor | float = (self.usual_scale if self.scales else c.scale) if own is None else own
        if c.sigma_low == 0 and c.sigma_high == math.inf:
            return scale
        inside = (sigma > c.sigma_low) & (sigma <= c.sigma_high)
        return torch.where(inside, scale, torch.ones_like(sigma))


class Autoguidance(Guidance):
    """Autoguidance: away from a weaker version of the teacher, smaller or less trained (arXiv:2406.02507).

    D = D_guide + scale (D_teacher - D_guide), Eq. (3). Costs the guide's call; works without labels too.
    """

    @frozen(kw_only=True)
    class Config:
        guide: str = field(metadata=FILE)  # result folder of a run, or student.safetensors, of the weaker network
        scale: float = field(default=2.0, validator=ge(0))  # strength of the guidance; 1: none at all

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises InputError if the guide cannot be read, UsageError if it is for other images."""
        guide, dataset = state.load_network(self.config.guide), state.dataset
        shapes = [(one.channels, one.resolution, one.label_dim) for one in (guide, dataset)]
        if shapes[0] != shapes[1]:
            words = "{} channels, {} px, {} labels"
            raise UsageError(
                f"[teacher_score.guidance] guide {self.config.guide!r} is for {words.format(*shapes[0])}; "
                f"the data set has {words.format(*shapes[1])}"
            )
        self.network = guide.to(state.device, state.dtype)
        self.network.compute_dtype = state.compute_dtype

    @hookimpl(wrapper=True)
    def teacher_score(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Generator[None, Tensor, Tensor]:
        D = yield
        return self.network(x, sigma, labels).lerp(D, self.config.scale)
