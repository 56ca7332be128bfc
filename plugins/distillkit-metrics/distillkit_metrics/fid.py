"""Metric `fid`: the Frechet distance by the published protocols."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean, stdev

import torch

from distillkit.api import FILE, Dataset, Draw, State, field, frozen, hookimpl, in_
from distillkit_metrics import reference
from distillkit_metrics.floors import Rule
from distillkit_metrics.published import Published, PublishedConfig
from distillkit_metrics.statistics import Moments, Sums, distance_of_parts, frechet_distance

DDOF = {"edm": 1, "stylegan": 0}
PARTS = 10  # of the generated images, over which the error is taken


class Fid(Published):
    """FID by EDM's or StyleGAN's protocol; `fd` in features other than Inception's (arXiv:1706.08500).

    EDM (arXiv:2206.00364): 50,000 images of seeds 0 ... 49999, uniform classes, covariance over N-1. StyleGAN, and
    SiD in training: the data set's classes, covariance over N. Both: 8-bit levels by truncation, sums in float64.
    """

    better = {"fid": "lower", "fd": "lower"}
    means = {
        "fid": "Frechet distance in Inception's features, by a published protocol: comparable with papers.",
        "fd": "The same distance in other features: comparable with others in these features alone.",
    }

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        protocol: str = field(default="edm", validator=in_(tuple(DDOF)))
        """with "edm": 50,000 seeds, covariance over N-1; "stylegan": covariance over N"""
        reference: str | None = field(default=None, metadata=FILE)
        """npz with mu and sigma; unset: of the training images, measured and cached"""

    @property
    def labels_of_protocol(self) -> str:
        return "random" if self.config.protocol == "edm" else "dataset"

    @property
    def protocol(self) -> dict[str, str]:
        over = {"edm": "EDM, covariance over N-1", "stylegan": "StyleGAN, covariance over N"}
        return {"protocol": over[self.config.protocol], **super().protocol}

    def measures(self, state: State) -> Collection[str] | None:
        """The one distance, once the features are known: those that tell their layers tell its name too."""
        told = state.device.type != "meta" or self.features.layers is not None
        return [self.features.distance] if told and self.features.distance else None

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises InputError for a reference that cannot be read."""
        super().setup(state)
        self._real: Moments | None = None
        self._floor: tuple[float, float] | None = None
        if self.config.reference is not None and state.device.type != "meta":
            width = self.features(state.dataset.pixels(torch.arange(1)))["penultimate"].shape[1]
            self._real, digest = reference.read(Path.cwd() / self.config.reference, width)
            self._told["reference"] = f"{Path(self.config.reference).name}, sha256 {digest}"

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        """`fid` or `fd`, its standard error and its floor."""
        c, fake = self.config, [Sums() for _ in range(PARTS)]
        for i, found in enumerate(self.generated(state, draw)):
            fake[i * c.batch * PARTS // c.images].add(found)
        real = self._measure_real(state)
        name = self.features.distance
        parts = [part for part in fake if part.count]
        value, error = distance_of_parts(parts, real, DDOF[c.protocol])
        metrics = {name: value, f"{name}_sd": error}
        if self._floor is not None:
            metrics |= {f"{name}_floor": self._floor[0], f"{name}_floor_sd": self._floor[1]}
        return metrics

    def _measure_real(self, state: State) -> Moments:
        """The reference, unless it was given, and the floor; the real images never change."""
        sets = [] if self._real is not None else [state.dataset]
        if self.config.floor and self._floor is None:
            sets = [state.dataset] if state.held_out is None else [*sets, state.held_out]
        quarters = [self._quarters(state, dataset) for dataset in sets]
        if self._real is None:
            whole = sum(quarters[0][0], Sums())
            self._real = whole.moments(DDOF[self.config.protocol])
            self._told["reference"] = f"{whole.count} training images, sha256 {quarters[0][1]}"
        if self.config.floor and self._floor is None:
            together = [sum(each, Sums()) for each in zip(*(parts for parts, _ in quarters), strict=True)]
            self._measure_floor(together, len(state.dataset))
        return self._real

    def _measure_floor(self, quarters: Sequence[Sums], m: int) -> None:
        """c (1/n + 1/m), c by the three ways to set two quarters of all real images against the others."""
        first, *others = quarters
        scaled = []
        for i in range(len(others)):
            a, b = first + others[i], sum(others[:i] + others[i + 1 :], Sums())
            distance = frechet_distance(*(side.moments(DDOF[self.config.protocol]) for side in (a, b)))
            scaled.append(distance / (1 / a.count + 1 / b.count))
        self._floor = Rule(fmean(scaled), stdev(scaled)).at(self.config.images, m)
        pool = sum(quarter.count for quarter in quarters)
        self._told["floor"] = f"c (1/n + 1/{m}), c by {len(scaled)} splits of {pool} real images into halves"

    def _quarters(self, state: State, dataset: Dataset) -> tuple[list[Sums], str]:
        return reference.quarters(self.features, dataset, self.config.batch, state.device, state.cache)
