"""Generated images for pictures and metrics, numbered like the published evaluations' seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

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

    @torch.no_grad()
    def __call__(
        self, n: int, seed: int = 0, labels: Tensor | Literal["random"] | None = None, first: int = 0
    ) -> Images:
        """Images first ... first+n-1 of the block `seed`: x [n,C,H,W] in [-1,1] and labels [n,L].

        Without `labels`, classes take turns: image i is of class i mod L; "random": of the class that its seed gives.
        """
        state, pairs = self.state, []
        with state.generating(self.network):
            for at in range(0, n, CHUNK):
                index = torch.arange(first + at, first + min(at + CHUNK, n))
                given = labels[at : at + CHUNK] if isinstance(labels, Tensor) else labels
                z, c = self._inputs(index, seed, given)
                c_ours = None if c is None else c.to(state.device, state.dtype)
                x = self.sample(state=state, z=z.to(state.device, state.dtype), labels=c_ours)
                pairs.append((x.float().cpu(), c))
        xs, cs = zip(*pairs, strict=True)
        return Images(torch.cat(xs), None if cs[0] is None else torch.cat(cs).cpu())

    def _inputs(
        self, index: Tensor, seed: int, labels: Tensor | Literal["random"] | None
    ) -> tuple[Tensor, Tensor | None]:
        """z and labels of the images `index` [n] of a block."""
        dim = self.state.dataset.label_dim
        z, classes = latents((SEED_BLOCK * seed + index).tolist(), self.state.dataset.shape, dim)
        if isinstance(labels, Tensor) or not dim:
            return z, labels if isinstance(labels, Tensor) else None
        return z, torch.eye(dim)[classes if labels == "random" else index % dim]


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
