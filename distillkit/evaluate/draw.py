"""Generated images for pictures and metrics, numbered like the published evaluations' seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from distillkit.api import Images, Sample
from distillkit.seeds import CHUNK, SEED_BLOCK, Labels, images
from distillkit.train.state import State
from distillkit.train.turns import denoise


class Drawer:
    """`draw(n, seed, labels, first)` of the evaluate hook: images of `network` by the sampler `sample`."""

    def __init__(self, state: State, network: Callable[..., Tensor], sample: Callable[..., Tensor], nfe: int) -> None:
        self.state, self.network, self.sample, self.nfe = state, network, sample, nfe

    @classmethod
    def student(cls, state: State) -> Drawer:
        """The averaged generator, sampled as the recipe says."""
        return cls(state, state.ema, state.hook.sample, state.components["sample"].nfe)

    def teacher(self, sampler: Sample) -> Drawer:
        """The same for the teacher, through its hook and from the same noise."""
        return Drawer(self.state, HookDenoiser(self.state), sampler.sample, sampler.nfe)

    def __call__(self, n: int, seed: int = 0, labels: Labels = None, first: int = 0) -> Images:
        """Images first ... first+n-1 of the block `seed`."""
        state, start = self.state, SEED_BLOCK * seed + first
        like = torch.empty((), device=state.device, dtype=state.dtype)
        with state.generating(self.network):
            sample = partial(self.sample, state=state)
            return images(sample, list(range(start, start + n)), labels, state.dataset, like, CHUNK)


class HookDenoiser:
    """The teacher_score hook, called like a network."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.sigma_min = getattr(state.teacher.network, "sigma_min", 0.0)
        self.sigma_max = getattr(state.teacher.network, "sigma_max", math.inf)

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        state = self.state
        sigma = torch.as_tensor(sigma, device=x.device).reshape(-1, 1, 1, 1).expand(len(x), 1, 1, 1)
        return denoise(state, x.to(state.dtype), sigma.to(state.dtype), labels)
