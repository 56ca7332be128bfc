"""What real images score where generated ones are measured: floors of distances, ceilings of shares.

A Frechet distance between n and m images of one distribution is c (1/n + 1/m), and so is its spread. c is fitted on
disjoint random splits of all real images, training and held-out alike: features that learned from the training images
know these, but cannot tell the two sides of such a split apart. KID is 0 there by construction, with a spread that goes
the same way. Precision, recall, density and coverage follow no such rule: they are those of splits with the same n : m.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean, stdev

import torch

from distillkit.api import frozen
from distillkit_metrics.kid import Sample, kid
from distillkit_metrics.layers import Layers
from distillkit_metrics.manifold import compared
from distillkit_metrics.once import once
from distillkit_metrics.strata import split

SPLITS, PAIRED, NEIGHBOURS = 20, 10, 3  # splits for Frechet distances, for KID, for neighbours
POOL, PAIRED_POOL = 12_000, 4_000  # real images at most that are split
SMALLEST = 0.2  # share of the smaller side


@frozen
class Rule:
    """Mean and spread of a distance over splits, both in units of 1/n + 1/m."""

    mean: float
    sd: float

    def at(self, n: float, m: float) -> tuple[float, float]:
        """Floor and its spread for n images against m; either may be infinite."""
        return self.mean * (1 / n + 1 / m), self.sd * (1 / n + 1 / m)


def sides(n: int, m: int, pool: int) -> tuple[int, int]:
    """Sizes of the two sides of a split of `pool` images like n and m: these, or fewer in the same proportion."""
    share = min(max(n / (n + m), SMALLEST), 1 - SMALLEST)
    first = min(n, round(min(n + m, pool) * share))
    return first, min(m, pool - first)


def _splits(pool: Layers, n: int, m: int, count: int, most: int) -> Iterator[tuple[Layers, Layers]]:
    """`count` random disjoint pairs of sides like n and m, both in the proportions of the strata."""
    pool = pool[:: -(-len(pool) // most)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        a, b = split(pool.groups, *sides(n, m, len(pool)), generator)
        yield pool[a], pool[b]


@once
def distance_rules(pool: Layers, n: int, m: int) -> dict[str, Rule]:
    """The rule of each Frechet distance, from splits like n and m."""
    scaled: dict[str, list[float]] = {name: [] for name in pool.by_distance}
    for a, b in _splits(pool, n, m, SPLITS, POOL):
        for name, (value, _) in a.distances(b.moments()).items():
            scaled[name].append(value / (1 / len(a) + 1 / len(b)))
    return {name: Rule(fmean(values), stdev(values)) for name, values in scaled.items()}


@once
def kid_rule(pool: Layers, shares: torch.Tensor, n: int, m: int) -> Rule:
    """KID between real images: 0, and its spread over splits."""
    scaled = []
    for a, b in _splits(pool, n, m, PAIRED, PAIRED_POOL):
        real, fake = (Sample.of(side.main, side.groups, shares) for side in (b, a))
        value, _ = kid(real, fake)
        scaled.append(value / (1 / len(a) + 1 / len(b)))
    return Rule(0.0, math.sqrt(fmean(value**2 for value in scaled)))


@once
def ceilings(pool: Layers, n: int, m: int, k_precision: int, k_coverage: int) -> dict[str, tuple[float, float]]:
    """Precision, recall, density and coverage of splits like n and m, and their spread at n and m."""
    scores: dict[str, list[float]] = {}
    for a, b in _splits(pool, n, m, NEIGHBOURS, POOL):
        for name, (value, _) in compared(b.main, a.main, k_precision, k_coverage).items():
            scores.setdefault(name, []).append(value)
        shrink = math.sqrt((1 / n + 1 / m) / (1 / len(a) + 1 / len(b)))
    return {name: (fmean(values), shrink * stdev(values)) for name, values in scores.items()}
