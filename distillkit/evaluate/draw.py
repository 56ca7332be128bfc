"""Generated images for pictures and metrics, numbered like the published evaluations' seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from distillkit.api import Denoise, Images, Sample
from distillkit.seeds import CHUNK, SEED_BLOCK, Labels, images
from distillkit.train.state import State

KEPT = 1000  # images


class Drawer:
    """`draw(n, seed, labels, first)` of the evaluate hook: images of `network` by the sampler `sample`."""

    def __init__(self, state: State, network: Denoise, sample: Callable[..., Tensor], nfe: int) -> None:
        self.state, self.network, self.sample, self.nfe = state, network, sample, nfe
        self.drawn: Images | None = None  # the most that were drawn at once, KEPT of them, for who looks on

    @classmethod
    def student(cls, state: State) -> Drawer:
        """Sample the averaged generator as the recipe says."""
        return cls(state, state.ema, state.hook.sample, cast(Sample, state.components["sample"]).nfe)

    @classmethod
    def untouched(cls, state: State) -> Drawer:
        """Sample the teacher as the recipe samples the student."""
        return cls(state, state.teacher_score, state.hook.sample, cast(Sample, state.components["sample"]).nfe)

    def teacher(self, sampler: Sample) -> Drawer:
        """Sample the teacher instead, by `sampler`, through its hook and from the same noise."""
        return Drawer(self.state, self.state.teacher_score, cast(Any, sampler).sample, sampler.nfe)

    def __call__(self, n: int, seed: int = 0, labels: Labels = None, first: int = 0) -> Images:
        """Draw images first ... first+n-1 of the block `seed`."""
        state, start = self.state, SEED_BLOCK * seed + first
        like = torch.empty((), device=state.device, dtype=state.dtype)
        with state.generating(self.network):
            sample = partial(self.sample, state=state)
            found = images(sample, list(range(start, start + n)), labels, state.dataset, like, CHUNK)
        few = Images(found.x[:KEPT], None if found.labels is None else found.labels[:KEPT])
        if self.drawn is None or len(few.x) > len(self.drawn.x):
            self.drawn = few
        return found
