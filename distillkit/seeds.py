"""Images by seed, as the published evaluations number them: noise, class and pixels of seed s are always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from distillkit.api import Images, Prompts

SEED_BLOCK = 50_000  # draw(n, seed=s) uses image seeds 50000 s, 50000 s + 1, ... as the published FIDs do
CHUNK = 256  # images per pass
Labels = Tensor | Literal["random"] | None


class Shaped(Protocol):
    """What images look like: a data set, or a finished student."""

    shape: tuple[int, int, int]  # C, H, W
    label_dim: int

    @property
    def prompts(self) -> Prompts | None: ...

    def decode(self, x: Tensor) -> Tensor: ...


def seed_noise(seeds: list[int], shape: tuple[int, ...], label_dim: int = 0) -> tuple[Tensor, Tensor | None]:
    """EDM's numbers for image seeds: z [n, *shape] and, for a conditional network, classes int64 [n].

    One CPU generator per image; it gives the latents first, then the class. Source: arXiv:2206.00364's sampler.
    """
    generators = [torch.Generator().manual_seed(seed % 2**32) for seed in seeds]
    z = torch.stack([torch.randn(shape, generator=g) for g in generators])
    if not label_dim:
        return z, None
    return z, torch.stack([torch.randint(label_dim, (), generator=g) for g in generators])


@torch.no_grad()
def chunks(
    sample: Callable[..., Tensor], seeds: Sequence[int], labels: Labels, dataset: Shaped, like: Tensor, batch: int
) -> Iterator[Images]:
    """What `images` gives, `batch` of them at a time."""
    for at in range(0, len(seeds), batch):
        given = labels[at : at + batch] if isinstance(labels, Tensor) else labels
        z, c = inputs(list(seeds[at : at + batch]), given, dataset)
        x = sample(z=z.to(like), labels=None if c is None else c.to(like))
        yield Images(dataset.decode(x.float()).cpu(), c)


def images(
    sample: Callable[..., Tensor], seeds: Sequence[int], labels: Labels, dataset: Shaped, like: Tensor,
    batch: int = CHUNK,
) -> Images:  # fmt: skip
    """The decoded images of EDM's `seeds`: x [n,C,H,W], labels [n,L], by `sample(z=, labels=)` on the device of `like`.

    Without `labels`, classes, or prompts, take turns: image i of a block is of class i mod L; "random": of that of its
    seed.
    """
    return together(chunks(sample, seeds, labels, dataset, like, batch))


def together(parts: Iterable[Images]) -> Images:
    """Some images and others as one."""
    xs, cs = zip(*parts, strict=True)
    return Images(torch.cat(xs), None if cs[0] is None else torch.cat(cs).cpu())


def inputs(seeds: list[int], labels: Labels, dataset: Shaped) -> tuple[Tensor, Tensor | None]:
    """z [n,C,H,W] and labels [n,L] of a few images."""
    if isinstance(labels, Tensor) or not dataset.label_dim:
        return seed_noise(seeds, dataset.shape)[0], labels if isinstance(labels, Tensor) else None
    rows = torch.eye(dataset.label_dim) if dataset.prompts is None else dataset.prompts.rows
    z, chosen = seed_noise(seeds, dataset.shape, len(rows))
    return z, rows[chosen if labels == "random" else torch.tensor(seeds) % SEED_BLOCK % len(rows)]
