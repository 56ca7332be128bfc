"""Generated images for pictures and metrics, numbered like the published evaluations' seeds."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from distillkit.api import Images, Sample
from distillkit.engine.state import State
from distillkit.engine.turns import denoise

SEED_BLOCK = 50_000  # draw(n, seed=s) uses image seeds 50000 s, 50000 s + 1, ... as the published FIDs do
CHUNK = 256  # images per pass


def latents(seeds: list[int], shape: tuple[int, ...], label_dim: int = 0) -> tuple[Tensor, Tensor | None]:
    """EDM's numbers for image seeds: z [n, *shape] and, for a conditional network, classes int64 [n].

    One CPU generator per image; it gives the latents first, then the class. Source: arXiv:2206.00364's sampler.
    """
    generators = [torch.Generator().manual_seed(seed % 2**32) for seed in seeds]
    z = torch.stack([torch.randn(shape, generator=g) for g in generators])
    if not label_dim:
        return z, None
    return z, torch.stack([torch.randint(label_dim, (), generator=g) for g in generators])


class Drawer:
    """`draw(n, seed, labels)` of the evaluate hook: images of `network` by the sampler `sample`."""

    def __init__(self, state: State, network: Callable[..., Tensor], sample: Callable[..., Tensor], nfe: int) -> None:
        self.state, self.network, self.sample, self.nfe = state, network, sample, nfe

    @classmethod
    def student(cls, state: State) -> Drawer:
        """The averaged generator, sampled as the recipe says."""
        return cls(state, state.ema, state.hook.sample, state.components["sample"].nfe)

    def teacher(self, sampler: Sample) -> Drawer:
        """The same for the teacher, through its hook and from the same noise."""
        return Drawer(self.state, HookDenoiser(self.state), sampler.sample, sampler.nfe)

    @torch.no_grad()
    def __call__(self, n: int, seed: int = 0, labels: Tensor | None = None) -> Images:
        """x [n,C,H,W] in [-1,1] and labels [n,L]; without `labels`, classes take turns: image i is of class i mod L."""
        state, dim = self.state, self.state.dataset.label_dim
        if labels is None and dim:
            labels = torch.eye(dim)[torch.arange(n) % dim]
        chunks = []
        with state.generating(self.network):
            for first in range(0, n, CHUNK):
                seeds = [SEED_BLOCK * seed + i for i in range(first, min(first + CHUNK, n))]
                z = latents(seeds, state.dataset.shape)[0].to(state.device, state.dtype)
                c = None if labels is None else labels[first : first + CHUNK].to(state.device, state.dtype)
                chunks.append(self.sample(state=state, z=z, labels=c).float().cpu())
        return Images(torch.cat(chunks), None if labels is None else labels.cpu())


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
