"""What is kept of a set of images, and how two sets are compared."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from distillkit.api import frozen
from distillkit_metrics.kid import Sample, kid, within
from distillkit_metrics.manifold import Measured, compared, radii
from distillkit_metrics.statistics import Moments, distance_of, moments
from distillkit_metrics.store import digest


@frozen
class Layers:
    """Features of N images, float64 [N,D] by the name of their distance ("fd" always), and the stratum of each [N]."""

    by_distance: dict[str, Tensor]
    groups: Tensor

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: Tensor | slice) -> Layers:
        return Layers({name: found[index] for name, found in self.by_distance.items()}, self.groups[index])

    def __add__(self, other: Layers) -> Layers:
        both = {name: torch.cat([found, other.by_distance[name]]) for name, found in self.by_distance.items()}
        return Layers(both, torch.cat([self.groups, other.groups]))

    @cached_property
    def digest(self) -> str:
        """Of all that it holds."""
        return digest({**self.by_distance, "groups": self.groups})

    @property
    def main(self) -> Tensor:
        """The penultimate layer [N,D], in which neighbours are taken."""
        return self.by_distance["fd"]

    def moments(self) -> dict[str, Moments]:
        return {name: moments(found) for name, found in self.by_distance.items()}

    def distances(self, real: dict[str, Moments]) -> Measured:
        """Frechet distances to `real`, with standard errors over these images."""
        return {name: distance_of(found, real[name], self.groups) for name, found in self.by_distance.items()}


class Near:
    """Real images among which neighbours are sought, and what of them is needed with every comparison."""

    def __init__(self, real: Layers, shares: Tensor, k_precision: int, k_coverage: int) -> None:
        self.real, self.shares, self.k_precision, self.k_coverage = real, shares, k_precision, k_coverage
        self.sample = Sample.of(real.main, real.groups, shares)
        self.within = float(self.sample.weights @ within(self.sample))
        self.radii = {k: radii(real.main, k) for k in {k_precision, k_coverage}}

    def compare(self, fake: Layers) -> Measured:
        """KID, precision, recall, density and coverage, with standard errors over the generated images."""
        distance = kid(self.sample, Sample.of(fake.main, fake.groups, self.shares), self.within)
        sides = self.real.main, fake.main, self.k_precision, self.k_coverage
        return {"kid": distance} | compared(*sides, self.radii, fake.groups)
