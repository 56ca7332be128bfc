"""What the metrics with published protocols share: numbered images in parts, 8-bit levels, and the facts to tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import (
    Choice,
    Dataset,
    Draw,
    Evaluate,
    Features,
    Sample,
    State,
    UsageError,
    field,
    frozen,
    ge,
    hookimpl,
    in_,
    optional,
)
from distillkit_metrics import embed
from distillkit_metrics.facts import check_teacher, drawn
from distillkit_metrics.pixels import quantised

TOGETHER = 4096  # images that are asked for at once, for all processes to share


@frozen(kw_only=True)
class PublishedConfig:
    features: Choice[Features]  # the feature network; published numbers need "inception"
    images: int = field(default=50_000, validator=ge(2))  # generated
    seed: int = field(default=0, validator=ge(0))  # image seeds 50000 seed, 50000 seed + 1 ...
    labels: str | None = field(default=None, validator=optional(in_(("random", "dataset"))))
    """with "random": the seed's own class; "dataset": those of the data set; unset: as the protocol has it"""
    floor: bool = True  # measure real against real images too
    sampler: Choice[Sample] | None = None  # measure the teacher by this sampler, not the student
    batch: int = field(default=128, validator=ge(1))  # images per pass


class Published(Evaluate):
    """Base: draws `images` images in parts and prepares the features."""

    tiny = {"images": 24}
    probabilities: ClassVar[bool] = False  # of classes; else the penultimate layer

    @property
    def labels_of_protocol(self) -> str:
        return "dataset"  # as StyleGAN's code, which SiD's is

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError for latents that nothing decodes."""
        if state.dataset.latent and state.dataset.pixels(torch.arange(1)).shape[1] == state.dataset.channels:
            raise UsageError("metrics see pixels, but the data set holds latents: dataset.vae names what decodes them")
        check_teacher(self.config.sampler, state)
        self.features = self.config.features.build()
        self.features.prepare(state.dataset, state.held_out, state.cache)
        self.net = embed.Levels(self.features, self.probabilities)
        self._told: dict[str, str] = {}
        if state.dataset.label_dim:
            told = {"random": "uniform, drawn from each image's seed", "dataset": "of random training images"}
            self._told["labels"] = told[self.labels]

    @property
    def labels(self) -> str:
        return self.config.labels or self.labels_of_protocol

    @property
    def protocol(self) -> dict[str, str]:
        c = self.config
        return drawn(c.images, range(c.seed, c.seed + 1), c.features, self.features, c.sampler) | self._told

    def generated(self, state: State, draw: Draw) -> Iterator[Tensor]:
        """Features [n,D] of the generated images, in parts of `batch`. Raises Diverged where images are not finite."""
        c = self.config
        draw = draw if c.sampler is None else draw.teacher(c.sampler.build())
        size = c.batch * max(TOGETHER // c.batch, 1)
        for first in range(0, c.images, size):
            n = min(size, c.images - first)
            labels = self._labels(state.dataset, first, n)
            found = embed.generated(draw, self.net, n, c.batch, c.seed, labels, first)
            yield from found.to(self.net.home).split(c.batch)

    def _labels(self, dataset: Dataset, first: int, n: int) -> Tensor | Literal["random"] | None:
        if self.labels == "random":
            return "random"
        u = noise.rows("rand", self.config.seed, "evaluate/labels", first, n, ())
        return dataset.labels((u * len(dataset)).long().clamp(max=len(dataset) - 1))

    def real(self, state: State, dataset: Dataset, index: Tensor) -> Iterator[Tensor]:
        """Parts x [n,C,H,W] of the images `index` [N], on the run's device."""
        return (quantised(dataset.pixels(part)).to(state.device) for part in index.split(self.config.batch))

    def embedded(self, parts: Iterable[Tensor]) -> Tensor:
        """Features [N,D] of all parts of real images, float32."""
        return torch.cat([self.net.of(x) for x in parts])
