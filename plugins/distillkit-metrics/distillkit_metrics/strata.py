"""Classes as strata: generated images come in fixed proportions of classes, and so do the real ones beside them.

Class proportions that varied by chance would dominate distances at small n: on digits, a Frechet distance of real to
real images is ten times as large between random subsets as between subsets of equal proportions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from distillkit import noise
from distillkit.api import Dataset


class Strata(NamedTuple):
    """The stratum of each class, int64 [K], and the share of the training images in each stratum, float64 [S]."""

    of_class: Tensor
    weights: Tensor


def strata(counts: Tensor, least: Tensor) -> Strata:
    """Every class with two images or more in each sample is a stratum; rarer ones share one, drawn independently.

    `counts` [K]: training images by class; `least` [K]: how many of the class the smallest sample has at least. Two
    are what the spread within a stratum, and KID, take; so a class with fewer joins the other rare ones, or, if there
    are no two of those together, the smallest class that is not rare.
    """
    own = (least >= 2) & (counts > 0)
    of_class = (own.cumsum(0) - 1).clamp(min=0)
    if not own.all():
        shared = int(own.sum())
        if own.any() and int(least[~own].sum()) < 2:
            smallest = int(counts.masked_fill(~own, int(counts.max()) + 1).argmin())
            shared = int(of_class[smallest])
        of_class[~own] = shared
    sizes = torch.zeros(int(of_class.max()) + 1, dtype=torch.float64).index_add_(0, of_class, counts.double())
    return Strata(of_class, sizes / sizes.sum())


def class_of(dataset: Dataset) -> Tensor:
    """Class of every image that labels ask for, int64 [N]; where they ask for none, all are of class 0."""
    classes = dataset.classes(torch.arange(len(dataset))) if asks_for_classes(dataset) else None
    return torch.zeros(len(dataset), dtype=torch.int64) if classes is None else classes.cpu()


def asks_for_classes(dataset: Dataset) -> bool:
    """Whether labels, be they classes or words, ask for images of a known class."""
    return bool(dataset.label_dim) and dataset.classes(torch.arange(1)) is not None


def fewest(counts: Tensor, n: int) -> Tensor:
    """How many of n images are of each class at least, when they come in the proportions of `counts` [K]."""
    return counts * n // counts.sum()


def chosen(groups: Tensor, of_class: Tensor, n: int, seed: int) -> Tensor:
    """Indices [n] into images of strata `groups` [N], in their proportions: whose labels to ask for.

    A stratum of one class takes its images in turn; one of several classes takes independent draws.
    """
    order = groups.argsort(stable=True)
    at = ((torch.arange(n) + 0.5) * len(groups) / n).long()
    mixed = torch.bincount(of_class)[groups[order][at]] > 1
    if mixed.any():
        sizes = torch.bincount(groups)
        start = (sizes.cumsum(0) - sizes)[groups[order][at]]
        u = noise.rows("rand", seed, "evaluate/strata", 0, n, ())
        drawn = start + (u * sizes[groups[order][at]]).long()
        at = torch.where(mixed, drawn, at)
    return order[at]


def quotas(sizes: Tensor, n: int) -> Tensor:
    """Split n in proportion to `sizes` [S]: largest remainders get the rounding, ties go to the first -> int64 [S]."""
    share = sizes * n
    quota = share // sizes.sum()
    by_remainder = (share % sizes.sum()).argsort(descending=True, stable=True)
    quota[by_remainder[: n - int(quota.sum())]] += 1
    return quota


def split(groups: Tensor, n: int, m: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two random disjoint sets of n and m of the images, int64 [n] and [m], both in the proportions of their strata.

    Raises ValueError where n + m images are more than there are.
    """
    if n + m > len(groups):
        raise ValueError(f"{n} + {m} images of {len(groups)}")
    sizes = torch.bincount(groups)
    first, second = quotas(sizes, n), quotas(sizes, m)
    second = torch.minimum(second, sizes - first)
    spare = sizes - first - second
    for _ in range(m - int(second.sum())):  # rounding of both went the same way
        second[int(spare.argmax())] += 1
        spare = sizes - first - second
    a, b = [], []
    for group in range(len(sizes)):
        members = (groups == group).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        a.append(members[: first[group]])
        b.append(members[first[group] : first[group] + second[group]])
    return torch.cat(a), torch.cat(b)
