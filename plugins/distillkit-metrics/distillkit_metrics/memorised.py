"""Copies: generated images nearer to a training image than unseen real ones are, and nearer to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from distillkit.api import InputError
from distillkit_metrics.manifold import ROWS, Measured, distances, mean
from distillkit_metrics.spread import standard_error
from distillkit_metrics.strata import split

NEAR = 0.05  # of unseen real images lie as near to a training image as what counts as near
DOUBLE = 0.01  # of training images have another one as near as what counts as a duplicate
TRAINING, UNSEEN, SUBSETS = 50_000, 2_000, 5  # images at most that are looked through; random subsets


def nearest(a: Tensor, b: Tensor, same: bool = False) -> tuple[Tensor, Tensor]:
    """Distance and index of the nearest row of b [M,D] for each of a [N,D]; `same`: b is a, and a row not its own."""
    if len(b) <= same:
        raise InputError("nearest neighbours need at least 2 images")
    least = []
    for at in range(0, len(a), ROWS):
        d = distances(a[at : at + ROWS], b)
        if same:
            rows = torch.arange(len(d))
            d[rows, at + rows] = torch.inf
        least.append(d.min(1))
    return torch.cat([part.values for part in least]), torch.cat([part.indices for part in least])


class Memory:
    """The training images [N,D] of strata `groups` [N], and what distances are usual among real images."""

    def __init__(self, train: Tensor, groups: Tensor, unseen: Tensor | None) -> None:
        """`unseen`: held-out images [H,D]; None: training images among the others, which is a weaker comparison."""
        self.stride = -(-len(train) // TRAINING)
        self.train, self.groups = train[:: self.stride], groups[:: self.stride]
        if unseen is None:
            usual, _ = nearest(self.train, self.train, same=True)
        else:
            usual, _ = nearest(unseen[:: -(-len(unseen) // UNSEEN)], self.train)
        self.unseen = len(usual)
        self.near = float(usual.quantile(NEAR)) if self.unseen else 0.0
        self.doubles: dict[int, float] = {}  # threshold by the number of images

    def compare(self, fake: Tensor, groups: Tensor) -> Measured:
        """`near_train` and `duplicates`: shares of the images [n,D] of strata `groups` [n], with standard errors."""
        distance, _ = nearest(fake, self.train)
        n = min(len(fake), len(self.train))
        few = ((torch.arange(n) + 0.5) * len(fake) / n).long()
        between, other = nearest(fake[few], fake[few], same=True)
        double = between <= self.double(n)
        # Without an image it is no duplicate, nor are those whose nearest other image it is.
        influence = double.double() + torch.bincount(other[double], minlength=n)
        share = float(double.double().mean()), standard_error(influence, groups[few])
        return {"near_train": mean(distance <= self.near, groups), "duplicates": share}

    def double(self, n: int) -> float:
        """The distance below which DOUBLE of n training images have another one."""
        if n not in self.doubles:
            generator = torch.Generator().manual_seed(0)
            subsets = [self.train[split(self.groups, n, 0, generator)[0]] for _ in range(SUBSETS)]
            quantiles = [nearest(subset, subset, same=True)[0].quantile(DOUBLE) for subset in subsets]
            self.doubles[n] = float(torch.stack(quantiles).mean())
        return self.doubles[n]

    def closest(self, fake: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The `count` generated images [n,D] nearest to a training image: their numbers, the image's, the distance."""
        distance, index = nearest(fake, self.train)
        order = distance.argsort(stable=True)[:count]
        return order, index[order] * self.stride, distance[order]
