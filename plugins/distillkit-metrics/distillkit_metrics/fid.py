"""Metric `fid`: the Frechet distance by the published protocols."""

from __future__ import annotations

from pathlib import Path

import torch

from distillkit.api import Dataset, Draw, State, field, frozen, hookimpl, in_
from distillkit_metrics import reference
from distillkit_metrics.published import Published, PublishedConfig
from distillkit_metrics.statistics import Moments, Sums, frechet_distance

DDOF = {"edm": 1, "stylegan": 0}


class Fid(Published):
    """FID by EDM's or StyleGAN's protocol; `fd` in features other than Inception's (arXiv:1706.08500).

    EDM (arXiv:2206.00364): 50,000 images of seeds 0 ... 49999, uniform classes, covariance over N-1. StyleGAN, and
    SiD in training: the data set's classes, covariance over N. Both: 8-bit levels by truncation, sums in float64.
    """

    better = {"fid": "lower", "fd": "lower"}

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        protocol: str = field(default="edm", validator=in_(tuple(DDOF)))
        """with "edm": 50,000 seeds, covariance over N-1; "stylegan": covariance over N"""
        reference: str | None = None  # npz with mu and sigma; unset: of the training images, measured and cached

    @property
    def labels_of_protocol(self) -> str:
        return "random" if self.config.protocol == "edm" else "dataset"

    @property
    def protocol(self) -> dict[str, str]:
        over = {"edm": "EDM, covariance over N-1", "stylegan": "StyleGAN, covariance over N"}
        return {"protocol": over[self.config.protocol], **super().protocol}

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises InputError for a reference that cannot be read."""
        super().setup(state)
        self._real: Moments | None = None
        self._floor: float | None = None
        if self.config.reference is not None:
            width = self.features(state.dataset.pixels(torch.arange(1)))["penultimate"].shape[1]
            self._real, digest = reference.read(Path.cwd() / self.config.reference, width)
            self._told["reference"] = f"{Path(self.config.reference).name}, sha256 {digest}"

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        """`fid` or `fd`, and its floor."""
        fake = Sums()
        for x in self.generated(state, draw):
            fake.add(self.features(x)["penultimate"])
        if self._real is None or (self._floor is None and self.config.floor):
            self._measure_real(state)
        name = self.features.distance
        found = {name: frechet_distance(fake.moments(DDOF[self.config.protocol]), self._real)}
        return found if self._floor is None else {**found, f"{name}_floor": self._floor}

    def _measure_real(self, state: State) -> None:
        """The reference, unless it was given, and the floor; the real images never change."""
        ddof, held_out, floor = DDOF[self.config.protocol], state.held_out, self.config.floor
        if self._real is None or (floor and held_out is None):
            even, odd, digest = self._halves(state, state.dataset)
        if self._real is None:
            self._real = (even + odd).moments(ddof)
            self._told["reference"] = f"{even.count + odd.count} training images, sha256 {digest}"
        if floor and held_out is not None:
            test = sum(self._halves(state, held_out)[:2], Sums())
            self._floor = frechet_distance(test.moments(ddof), self._real)
            self._told["floor"] = f"{test.count} held-out images against the reference"
        elif floor:
            self._floor = frechet_distance(even.moments(ddof), odd.moments(ddof))
            self._told["floor"] = f"{even.count} training images against the other {odd.count}"

    def _halves(self, state: State, dataset: Dataset) -> tuple[Sums, Sums, str]:
        return reference.halves(self.features, dataset, self.config.batch, state.device, state.cache)
