"""Generated images for pictures and metrics, numbered like the published evaluations' seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from distillkit.api import Images, Sample
from distillkit.train.state import State
from distillkit.train.turns import denoise

SEED_BLOCK = 50_000  # draw(n, seed=s) uses image seeds 50000 s, 50000 s + 1, ... as the published FIDs do
CHUNK = 256  # images per pass
Labels = Tensor | Literal["random"] | None


class Shaped(Protocol):
    """What images look like: a data set, or a finished student."""

    shape: tuple[int, int, int]  # C, H, W
    label_dim: int

    def decode(self, x: Tensor) -> Tensor: ...


def latents(seeds: list[int], shape: tuple[int, ...], label_dim: int = 0) -> tuple[Tensor, Tensor | None]:
    """EDM's numbers for image seeds: z [n, *shape] and, for a conditional network, classes int64 [n].

    One CPU generator per image; it gives the latents first, then the class. Source: arXiv:2206.00364's sampler.
    """
    generators = [torch.Generator().manual_seed(seed % 2**32) for seed in seeds]
    z = torch.stack([torch.randn(shape, generator=g) for g in generators])
    if not label_dim:
        return z, None
    return z, torch.stack([torch.randint(label_dim, (), generator=g) for g in generators])


@torch.no_grad()
def images(
    sample: Callable[..., Tensor], seeds: list[int], labels: Labels, dataset: Shaped, like: Tensor, batch: int = CHUNK
) -> Images:
    """The decoded images of EDM's `seeds`: x [n,C,H,W], labels [n,L], by `sample(z=, labels=)` on the device of `like`.

    Without `labels`, classes take turns: image i of a block is of class i mod L; "random": of the class of its seed.
    """
    pairs = []
    for at in range(0, len(seeds), batch):
        given = labels[at : at + batch] if isinstance(labels, Tensor) else labels
        z, c = inputs(seeds[at : at + batch], given, dataset)
        x = sample(z=z.to(like), labels=None if c is None else c.to(like))
        pairs.append((dataset.decode(x.float()).cpu(), c))
    xs, cs = zip(*pairs, strict=True)
    return Images(torch.cat(xs), None if cs[0] is None else torch.cat(cs).cpu())


def inputs(seeds: list[int], labels: Labels, dataset: Shaped) -> tuple[Tensor, Tensor | None]:
    """z [n,C,H,W] and labels [n,L] of a few images."""
    dim = dataset.label_dim
    z, classes = latents(seeds, dataset.shape, dim)
    if isinstance(labels, Tensor) or not dim:
        return z, labels if isinstance(labels, Tensor) else None
    return z, torch.eye(dim)[classes if labels == "random" else torch.tensor(seeds) % SEED_BLOCK % dim]


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
