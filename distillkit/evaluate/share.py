"""One rank's share of an evaluation: images by the sampler that was asked for, or their features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, cast

import attrs
import torch
from torch import Tensor, nn

from distillkit.api import Images, PluginError, Sample
from distillkit.seeds import CHUNK, Labels, chunks, together
from distillkit.train.state import State
from distillkit.train.teacher import scaled

Told = Callable[[int], object] | None
Net = Callable[[Tensor], Tensor]  # images [m,C,H,W] -> features [m,D]


@attrs.frozen
class Asked:
    """Images of EDM's seeds start ... start+n-1: of which network, by which sampler, of which classes."""

    network: Literal["average", "teacher"]
    sampler: Sample | None  # None: the recipe's
    start: int
    n: int
    labels: Labels

    def part(self, rows: slice) -> Asked:
        """Some of them."""
        labels = self.labels[rows].cpu() if isinstance(self.labels, Tensor) else self.labels
        return attrs.evolve(self, start=self.start + rows.start, n=rows.stop - rows.start, labels=labels)


def drawn(state: State, asked: Asked, told: Told = None) -> list[Tensor]:
    """x [n,C,H,W] and, where there are classes, labels [n,L]; [] where no images were asked for."""
    if not asked.n:
        return []
    with state.generating(_network(state, asked)):
        return _listed(together(_images(state, asked, CHUNK, told)))


def embedded(state: State, asked: Asked, net: Net, batch: int, keep: int, told: Told = None) -> list[Tensor]:
    """Features [n,D] by `net` of `batch` images at a time, then the first `keep` images as `drawn` gives them."""
    if not asked.n:
        return []
    with state.generating(_network(state, asked)):
        return embed(state, _images(state, asked, min(batch, CHUNK), told), net, batch, keep)


@torch.no_grad()
def embed(state: State, images: Iterable[Images], net: Net, batch: int, keep: int) -> list[Tensor]:
    """The same of images that come some at a time, of which no more than a batch is held."""
    if isinstance(net, nn.Module):
        net.to(state.device)
    features: list[Tensor] = []
    kept: list[Images] = []
    waiting = torch.empty(0)
    for x, labels in images:
        first = slice(max(keep, 0))
        # Clones: a view of a few images, or of none, would hold them all.
        kept.append(Images(x[first].clone(), None if labels is None else labels[first].clone()))
        keep -= len(x)
        waiting = torch.cat([waiting, x]) if len(waiting) else x
        while len(waiting) >= batch:
            features.append(_called(net, waiting[:batch].to(state.device)))
            waiting = waiting[batch:]
    if len(waiting):
        features.append(_called(net, waiting.to(state.device)))
    return [torch.cat(features), *_listed(together(kept))]


def as_images(tensors: list[Tensor]) -> Images:
    """What `drawn` gives, by name."""
    return Images(tensors[0], tensors[1] if len(tensors) > 1 else None)


def _network(state: State, asked: Asked) -> Any:
    return state.ema if asked.network == "average" else state.teacher_score


def _images(state: State, asked: Asked, size: int, told: Told) -> Iterator[Images]:
    """The images that were asked for, `size` to a pass, of the network that samplers call now; `told` of each pass."""
    hook = state.hook.sample if asked.sampler is None else cast(Any, asked.sampler).sample
    like = torch.empty((), device=state.device, dtype=state.dtype)
    seeds = range(asked.start, asked.start + asked.n)

    def sample(z: Tensor, labels: Tensor | None) -> Tensor:
        x: Tensor = hook(state=state, z=z, labels=scaled(state, labels))
        return x

    for images in chunks(sample, seeds, asked.labels, state.dataset, like, size):
        if told is not None:
            told(len(images.x))
        yield images


def _listed(found: Images) -> list[Tensor]:
    return [found.x] if found.labels is None else [found.x, found.labels]


def _called(net: Net, x: Tensor) -> Tensor:
    """Features [m,D] of x [m,C,H,W], on the CPU. Raises PluginError for what is none."""
    found = net(x)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x):
        what = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise PluginError(f"draw.features: the network gave {what} for {len(x)} images, expected [{len(x)}, D]")
    return found.cpu()
