"""Generated images for pictures and metrics, numbered like the published evaluations' seeds; every rank makes some."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal, cast

import torch
from torch import Tensor

from distillkit.api import Images, Sample
from distillkit.evaluate import serve, share
from distillkit.evaluate.health import VALUES
from distillkit.evaluate.share import Asked, Net
from distillkit.seeds import CHUNK, SEED_BLOCK, Labels
from distillkit.train.state import State

KEPT = 1000  # images
ROUND = 512  # images of each rank between two moments at which a signal may end the work


class Drawer:
    """`draw(n, seed, labels, first)` of the evaluate hook: images of a network by the sampler of the recipe."""

    def __init__(self, state: State, network: Literal["average", "teacher"], sampler: Sample | None = None) -> None:
        """`sampler`: another than the recipe's."""
        self.state, self.network, self.sampler = state, network, sampler
        self.nfe = (sampler or cast(Sample, state.components["sample"])).nfe
        self.told: Callable[[int], object] = untold  # of images that were made
        self.drawn: Images | None = None  # the most that were drawn at once, KEPT of them, for who looks on

    @classmethod
    def student(cls, state: State) -> Drawer:
        """Sample the averaged generator as the recipe says."""
        return cls(state, "average")

    @classmethod
    def untouched(cls, state: State) -> Drawer:
        """Sample the teacher as the recipe samples the student."""
        return cls(state, "teacher")

    def teacher(self, sampler: Sample) -> Drawer:
        """Sample the teacher instead, by `sampler`, through its hook and from the same noise."""
        return Drawer(self.state, "teacher", sampler)

    def __call__(self, n: int, seed: int = 0, labels: Labels = None, first: int = 0) -> Images:
        """Draw images first ... first+n-1 of the block `seed`."""
        asked = self._asked(n, seed, labels, first)
        if self._shared:
            found = share.as_images(joined([serve.draw(self.state, part) for part in self._rounds(asked, CHUNK)]))
        else:
            found = share.as_images(share.drawn(self.state, asked, self.told))
        self._note(Images(found.x[:KEPT], None if found.labels is None else found.labels[:KEPT]))
        return found

    def features(
        self, net: Net, n: int, seed: int = 0, labels: Labels = None, first: int = 0, batch: int = CHUNK
    ) -> Tensor:
        """Features net(x) [n,D] of those images, `batch` at a time; the images stay where they are made."""
        state, asked = self.state, self._asked(n, seed, labels, first)
        # As many as the real ones beside them, see health: large images are not all held.
        keep = min(n, KEPT, max(VALUES // math.prod(state.dataset.shape), 64))
        keep = keep if self.drawn is None or len(self.drawn.x) < keep else 0
        if not self._shared:
            found = share.embedded(state, asked, net, batch, keep, self.told)
        elif serve.portable(state, net):
            parts = []
            for part in self._rounds(asked, batch):
                parts.append(serve.features(state, part, net, batch, keep))
                keep = max(keep - part.n, 0)
            found = joined(parts)
        else:  # then the images come to it
            images = (share.as_images(serve.draw(state, part)) for part in self._rounds(asked, CHUNK))
            found = share.embed(state, images, net, batch, keep)
        features, *kept = found
        self._note(share.as_images(kept))
        return features

    def _asked(self, n: int, seed: int, labels: Labels, first: int) -> Asked:
        return Asked(self.network, self.sampler, SEED_BLOCK * seed + first, n, labels)

    @property
    def _shared(self) -> bool:
        """Whether the other ranks wait for work, and can do this."""
        return self.state.ranks.listening and (self.sampler is None or serve.portable(self.state, self.sampler))

    def _rounds(self, asked: Asked, batch: int) -> Iterator[Asked]:
        """Parts for all ranks together: ROUND images of each, or what makes whole batches."""
        size = self.state.ranks.size * batch * max(ROUND // batch, 1)
        for at in range(0, asked.n, size):
            part = asked.part(slice(at, min(at + size, asked.n)))
            yield part
            self.told(part.n)

    def _note(self, few: Images) -> None:
        if self.drawn is None or len(few.x) > len(self.drawn.x):
            self.drawn = few


def untold(images: int) -> None:
    """Nobody counts them."""


def joined(rounds: list[list[Tensor]]) -> list[Tensor]:
    """The rows of all rounds."""
    return [torch.cat(tensors) for tensors in zip(*rounds, strict=True)]
