"""Metric `frechet`: generated images against real ones in the space of a feature network, with floors."""

from __future__ import annotations

from statistics import fmean, stdev

import torch
from torch import Tensor

from distillkit.api import (
    Choice,
    Dataset,
    Diverged,
    Draw,
    Evaluate,
    Features,
    Sample,
    State,
    Use,
    field,
    frozen,
    ge,
    hookimpl,
)
from distillkit_metrics.facts import drawn
from distillkit_metrics.kid import kid
from distillkit_metrics.manifold import density_coverage, precision_recall, radii
from distillkit_metrics.statistics import Moments, frechet_distance, moments, principal_axes

CHUNK = 500  # images per call of the feature network
NEIGHBOURS = 10_000  # real images at most that neighbours and KID are taken among: their cost is the square of it
SPATIAL_AXES = 64  # principal axes of the middle layer that sFD keeps


def quantised(x: Tensor) -> Tensor:
    """x [n,C,H,W] through 8-bit levels and back to [-1,1], as published protocols store images before measuring."""
    return (x.float() * 127.5 + 128).clamp(0, 255).trunc() / 127.5 - 1


def measured(features: Features, x: Tensor) -> dict[str, Tensor]:
    """Features by name, float64 [n,D], of x [n,C,H,W] clamped to [-1,1].

    Not in 8-bit levels: a pixel near a boundary takes another one with the last bit of a processor's arithmetic, which
    alone moves a distance of 1,000 images by 1e-6.
    """
    parts = [features(chunk.float().clamp(-1, 1)) for chunk in x.split(CHUNK)]
    return {name: torch.cat([part[name] for part in parts]).double().cpu() for name in parts[0]}


def measured_set(features: Features, dataset: Dataset) -> dict[str, Tensor]:
    """Features by name, float64 [N,D], of every image; the images themselves are never in memory together."""
    parts = [measured(features, dataset.pixels(index)) for index in torch.arange(len(dataset)).split(CHUNK)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def stratified_labels(dataset: Dataset, n: int) -> Tensor | None:
    """n labels [n,L] of training images in the proportions of their classes; None when unconditional.

    Class proportions that vary by chance would dominate the distances at small n.
    """
    labels = dataset.labels(torch.arange(len(dataset)))
    if labels is None:
        return None
    by_class = labels[labels.argmax(1).argsort(stable=True)]
    return by_class[((torch.arange(n) + 0.5) * len(labels) / n).long()]


def mean_and_spread(runs: list[dict[str, float]]) -> dict[str, float]:
    """Mean under each name; with several runs the standard deviation (N-1) under name_sd."""
    found = {name: fmean(run[name] for run in runs) for name in runs[0]}
    if len(runs) > 1:
        found |= {f"{name}_sd": stdev(run[name] for run in runs) for name in runs[0]}
    return found


class Frechet(Evaluate):
    """Frechet distances, KID, precision, recall, density, coverage, each with its real floor.

    `fd` and `sfd` are Frechet distances (arXiv:1706.08500) of the penultimate and a middle layer; `_test` against
    the held-out images, everything else against the training images; `_floor`: held-out against training images.
    """

    better = {
        **dict.fromkeys(("fd", "sfd", "kid", "fd_test", "sfd_test"), "lower"),
        **dict.fromkeys(("precision", "recall", "density", "coverage", "label_agreement"), "higher"),
    }

    @frozen(kw_only=True)
    class Config:
        features: Choice[Features] = Use("digits-classifier")  # the feature network
        images: int = field(default=1000, validator=ge(2))  # generated, per seed
        seeds: int = field(default=1, validator=ge(1))
        """sets of images; of more than 1: the mean, and the spread under name_sd"""
        first_seed: int = field(default=0, validator=ge(0))  # seed of the first set of images
        sampler: Choice[Sample] | None = None  # measure the teacher by this sampler, not the student
        k_precision: int = field(default=3, validator=ge(1))  # neighbours, also of recall
        k_coverage: int = field(default=5, validator=ge(1))  # neighbours, also of density

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._features: Features | None = None

    @property
    def protocol(self) -> dict[str, str]:
        c = self.config
        if self._features is None:
            return {}
        neighbours = f"{c.k_precision} neighbours for precision and recall, {c.k_coverage} for density and coverage"
        blocks = range(c.first_seed, c.first_seed + c.seeds)
        return {
            "protocol": f"covariance over N-1, labels in the proportions of the classes, {neighbours}",
            **drawn(c.images, blocks, c.features, self._features, c.sampler, "clamped to [-1,1]"),
            "reference": f"{len(self._train['penultimate'])} training images",
        }

    @hookimpl
    def setup(self, state: State) -> None:
        """Measure the real images once."""
        features = self.config.features.build()
        features.prepare(state.dataset, state.held_out, state.cache)
        self._train = measured_set(features, state.dataset)
        self._near = self._train["penultimate"][:: -(-len(state.dataset) // NEIGHBOURS)]
        self._radii = {k: radii(self._near, k) for k in {self.config.k_precision, self.config.k_coverage}}
        self._axes = principal_axes(self._train["spatial"], SPATIAL_AXES) if "spatial" in self._train else None
        self._train_moments = self._layers(self._train)
        self._test_moments, self._floors, self._features = None, {}, features
        if state.held_out is not None:
            self._measure_held_out(state.held_out)

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        """Metrics over the seeds, and the floors."""
        if self._features is None:
            self.setup(state)
        labels = stratified_labels(state.dataset, self.config.images)
        draw = draw if self.config.sampler is None else draw.teacher(self.config.sampler.build())
        seeds = range(self.config.first_seed, self.config.first_seed + self.config.seeds)
        return mean_and_spread([self._one_seed(draw, seed, labels) for seed in seeds]) | self._floors

    def _one_seed(self, draw: Draw, seed: int, labels: Tensor | None) -> dict[str, float]:
        x, labels = draw(self.config.images, seed=seed, labels=labels)
        bad = int((~x.isfinite()).flatten(1).any(1).sum())
        if bad:
            raise Diverged(
                f"{bad} of {len(x)} generated images (seed {seed}) hold non-finite values; nothing to measure"
            )
        fake = measured(self._features, x)
        found = self._compare(fake)
        if self._test_moments is not None:
            found |= {f"{name}_test": v for name, v in self._distances(fake, self._test_moments).items()}
        if labels is not None and "logits" in fake:
            found["label_agreement"] = _agreement(fake["logits"], labels)
        return found

    def _measure_held_out(self, held_out: Dataset) -> None:
        test, labels = measured_set(self._features, held_out), held_out.labels(torch.arange(len(held_out)))
        self._test_moments = self._layers(test)
        floors = self._compare(test)
        # The distance is symmetric: training images are exactly as far from the held-out ones.
        floors |= {f"{name}_test": floors[name] for name in self._test_moments}
        if labels is not None and "logits" in test:
            floors["label_agreement"] = _agreement(test["logits"], labels)
        self._floors = {f"{name}_floor": value for name, value in floors.items()}

    def _layers(self, found: dict[str, Tensor]) -> dict[str, Moments]:
        layers = {"fd": moments(found["penultimate"])}
        if self._axes is not None:
            layers["sfd"] = moments(found["spatial"] @ self._axes)
        return layers

    def _distances(self, fake: dict[str, Tensor], real: dict[str, Moments]) -> dict[str, float]:
        layers = self._layers(fake)
        return {name: frechet_distance(real[name], layers[name]) for name in real}

    def _compare(self, fake: dict[str, Tensor]) -> dict[str, float]:
        """Everything that compares with the training images."""
        sides, k_p, k_c = (self._near, fake["penultimate"]), self.config.k_precision, self.config.k_coverage
        precision, recall = precision_recall(*sides, k_p, self._radii[k_p])
        density, coverage = density_coverage(*sides, k_c, self._radii[k_c])
        return self._distances(fake, self._train_moments) | {
            "kid": kid(*sides), "precision": precision, "recall": recall, "density": density, "coverage": coverage,
        }  # fmt: skip


def _agreement(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose class by logits [n,classes] is the one asked for by labels [n,L]."""
    return float((logits.argmax(1) == labels.argmax(1).cpu()).double().mean())
