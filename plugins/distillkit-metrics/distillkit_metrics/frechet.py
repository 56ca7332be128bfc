"""Metric `frechet`: generated images against real ones in the space of a feature network, with floors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import fmean, stdev

from distillkit.api import (
    Choice,
    Draw,
    Evaluate,
    Features,
    Sample,
    State,
    UsageError,
    Use,
    added_later,
    field,
    frozen,
    ge,
    hookimpl,
)
from distillkit_metrics import embed, pairs, suspicion
from distillkit_metrics.facts import check_teacher, drawn
from distillkit_metrics.layers import Layers
from distillkit_metrics.manifold import Measured
from distillkit_metrics.pixels import CHUNK
from distillkit_metrics.real import Real
from distillkit_metrics.strata import asks_for_classes

PAIRS = 6  # of generated and training images, shown


def mean_and_spread(blocks: list[Measured]) -> dict[str, float]:
    """Mean of each metric, and under name_sd the standard deviation (N-1) over blocks; of one, its standard error."""
    found = {name: fmean(block[name][0] for block in blocks) for name in blocks[0]}
    if len(blocks) == 1:
        return found | {f"{name}_sd": error for name, (_, error) in blocks[0].items()}
    return found | {f"{name}_sd": stdev(block[name][0] for block in blocks) for name in blocks[0]}


def at_the_end(state: State) -> bool:
    """Whether this evaluation is that of a result: of a run's last iteration, or of a student that is finished."""
    return state.nimg in (0, state.total)


class Frechet(Evaluate):
    """Frechet distances, KID, precision, recall, density, coverage, copies, each with error and floor.

    `fd` and `sfd` are Frechet distances (arXiv:1706.08500) of the penultimate and a middle layer; `_test` against
    the held-out images, everything else against the training images; `_floor`, `_ceiling`: real images in the place of
    generated ones; `near_train`: share nearer to a training image than 95 % of the held-out ones are; `duplicates`:
    share with another generated image as near as 1 % of training images have one.
    """

    better = {
        "near_train": "none",
        **dict.fromkeys(("fd*", "sfd*", "kid", "duplicates"), "lower"),
        **dict.fromkeys(("precision", "recall", "density", "coverage", "label_agreement"), "higher"),
    }

    means = {
        "fd": "Frechet distance: how far mean and spread of features of generated images are from training images'.",
        "fd_test": "fd from held-out images: it does not fall where training images are only copied.",
        "fd_inf": "What fd would be with infinitely many images.",
        "sfd": "Frechet distance in a middle layer: it sees shapes and texture rather than classes.",
        "sfd_test": "sfd from held-out images.",
        "sfd_inf": "What sfd would be with infinitely many images.",
        "kid": "Distance by a kernel, without the bias of few images; around 0, and also below it, is as real.",
        "precision": "Share of generated images that look like some real one: quality.",
        "recall": "Share of real images that some generated one looks like: variety.",
        "density": "How densely real images lie around generated ones; as precision, and less moved by outliers.",
        "coverage": "Share of real images with a generated one among their nearest: variety.",
        "label_agreement": "Share of images that a classifier takes for the class that was asked for.",
        "near_train": "Share nearer to a training image than 95 % of unseen real ones are; far above 5 %: copies.",
        "duplicates": "Share with another generated image as near as 1 % of training images have one.",
    }

    tiny = {"images": 24}

    @frozen(kw_only=True)
    class Config:
        features: Choice[Features] = Use("digits-classifier")  # the feature network
        images: int = field(default=1000, validator=ge(2))  # generated, per seed
        seeds: int = field(default=1, validator=ge(1))
        """sets of images; of more than 1: the mean, and the spread under name_sd"""
        final_seeds: int = field(default=3, validator=ge(1), metadata=added_later(3))
        """sets of images at the end of a run, where that is more than `seeds`"""
        first_seed: int = field(default=0, validator=ge(0))  # seed of the first set of images
        sampler: Choice[Sample] | None = None  # measure the teacher by this sampler, not the student
        k_precision: int = field(default=3, validator=ge(1))  # neighbours, also of recall
        k_coverage: int = field(default=5, validator=ge(1))  # neighbours, also of density
        extrapolate: bool = field(default=False, metadata=added_later(False))
        """also fd_inf and sfd_inf: the distances that infinitely many such images would have"""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._real: Real | None = None

    @property
    def protocol(self) -> dict[str, str]:
        c = self.config
        if self._real is None:
            return {}
        neighbours = f"{c.k_precision} neighbours for precision and recall, {c.k_coverage} for density and coverage"
        blocks = range(c.first_seed, c.first_seed + max(c.seeds, c.final_seeds))
        return {
            "protocol": f"covariance over N-1, labels in the proportions of the classes, {neighbours}",
            **drawn(c.images, blocks, c.features, self._real.features, c.sampler, "clamped to [-1,1]"),
            "reference": f"{len(self._real.train)} training images, sha256 {self._real.digest}",
            "floor": self._real.told,
        }

    def measures(self, state: State) -> Collection[str]:
        """Distances by layer and by what they are from, then what takes neighbours in the penultimate layer."""
        layers = self.config.features.cls.layers or ("spatial", "logits")  # of features that do not tell: perhaps
        agreement = ["label_agreement"] if "logits" in layers and asks_for_classes(state.dataset) else []
        ends = ["", *(["_test"] if state.held_out is not None else []), *(["_inf"] if self.config.extrapolate else [])]
        distances = [name + end for end in ends for name in ("fd", *(["sfd"] if "spatial" in layers else []))]
        return [*distances, "kid", "precision", "recall", "density", "coverage", *agreement, "near_train", "duplicates"]

    def remarks(self, metrics: Mapping[str, float]) -> list[str]:
        """Signs of copied images, and of features that know the training images."""
        return suspicion.of(metrics) + (self._real.knowing() if self._real else [])

    @hookimpl
    def setup(self, state: State) -> None:
        """Measure the real images once. Raises UsageError for too few of them, or no teacher to measure."""
        c, needed = self.config, max(self.config.k_precision, self.config.k_coverage) + 1
        for name, n in (("images", c.images), ("training images", len(state.dataset))):
            if n < needed:
                raise UsageError(f"distances to {needed - 1} neighbours need at least {needed} {name}; there are {n}")
        check_teacher(c.sampler, state)
        if state.device.type == "meta":
            c.features.build().prepare(state.dataset, state.held_out, state.cache)
        else:
            self._ready(state)

    def _ready(self, state: State) -> Real:
        if self._real is None:
            c, features = self.config, self.config.features.build()
            features.prepare(state.dataset, state.held_out, state.cache)
            keys = c.images, c.k_precision, c.k_coverage, c.extrapolate
            self._real = Real(features, state.dataset, state.held_out, *keys)
        return self._real

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        """Metrics over the seeds, and the floors."""
        c, real = self.config, self._ready(state)
        draw = draw if c.sampler is None else draw.teacher(c.sampler.build())
        final = at_the_end(state)
        seeds = range(c.first_seed, c.first_seed + (max(c.seeds, c.final_seeds) if final else c.seeds))
        blocks = [self._block(state, real, draw, seed) for seed in seeds]
        found = mean_and_spread([metrics for _, metrics in blocks]) | real.floors
        if final and state.figures is not None:
            self._show_pairs(state, state.figures, real, draw, blocks[0][0])
        return found

    def _block(self, state: State, real: Real, draw: Draw, seed: int) -> tuple[Layers, Measured]:
        """Layers of images and their metrics. Raises Diverged for images that are not finite."""
        labels = real.labels(state.dataset, seed)
        return real.compare(embed.generated(draw, real.net, self.config.images, CHUNK, seed, labels), seed)

    def _show_pairs(self, state: State, folder: Path, real: Real, draw: Draw, fake: Layers) -> None:
        """The images of the first seed that are nearest to a training image, above those."""
        c, labels = self.config, real.labels(state.dataset, self.config.first_seed)
        index, training, distance = real.memory.closest(fake.main, PAIRS)
        x = embed.picked(draw, index, c.images, c.first_seed, labels)
        name = f"nearest-{c.sampler.name}.png" if c.sampler else "nearest.png"
        pairs.write(folder / name, x, state.dataset.pixels(training), distance, real.memory.near)
