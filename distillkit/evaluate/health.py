"""What a few hundred generated images say of a run's health, beside real ones: four numbers that any images have."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from distillkit.api import Dataset, Images

MOST = 1000  # real images, spread over the data set
VALUES = 2**26  # of real images, at most: 256 MiB
LIMIT = 1 - 1 / 255  # |x| from which a value counts as being at its limit


@frozen
class Spread:
    """Mean squared distance per value from the mean image: of all images, and of those of the same class."""

    total: float
    within: float | None  # None: no labels, or too few images of a class

    @classmethod
    def of(cls, x: Tensor, labels: Tensor | None) -> Spread:
        """Measure x [n,C,H,W] with labels [n,L]; images of equal labels are of one class."""
        x = x.flatten(1).double()
        total = float(x.var(0).mean())
        if labels is None:
            return cls(total, None)
        _, group = _alike(labels).unique(return_inverse=True)
        counts = group.bincount()
        many = (counts > 1)[group]  # images that another one has the class of
        if int(many.sum()) * 2 < len(x):
            return cls(total, None)
        means = torch.zeros(len(counts), x.shape[1], dtype=x.dtype).index_add_(0, group, x) / counts[:, None]
        squares = (x - means[group]).square()[many].sum()
        return cls(total, float(squares / (int(many.sum()) - int((counts > 1).sum())) / x.shape[1]))


def _alike(labels: Tensor) -> Tensor:
    """A number [n] for each row of labels [n,L], the same for equal rows: the class, where rows are one-hot."""
    if bool(((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()):
        return labels.argmax(1)
    return labels.double() @ torch.linspace(1, 2, labels.shape[1], dtype=torch.float64, device=labels.device)


@frozen
class Real:
    """The same of real images."""

    mean: Tensor  # [C]
    std: float  # over all values
    saturated: float | None  # share of values at the limits of [-1,1]; None: the data do not lie within
    contrast: float  # standard deviation within a channel of an image, on average; 0 where it is one pixel
    spread: Spread

    @classmethod
    def of(cls, dataset: Dataset) -> Real:
        """Measure images at equal distances in the data set."""
        size = dataset.shape[0] * dataset.shape[1] * dataset.shape[2]
        n = min(len(dataset), MOST, max(VALUES // size, 64))
        index = torch.linspace(0, len(dataset) - 1, n).long()
        x = dataset.pixels(index).float().cpu()
        labels = dataset.labels(index)
        within = bool(x.abs().max() <= 1)
        saturated = at_limits(x) if within else None
        return cls(x.mean((0, 2, 3)), float(x.std()), saturated, contrast(x), Spread.of(x, labels))


def contrast(x: Tensor) -> float:
    """Standard deviation over the pixels of a channel, averaged over images and channels of x [n,C,H,W]."""
    return float(x.flatten(2).std(2, correction=0).mean())


def at_limits(x: Tensor) -> float:
    """Share of values at or beyond the limits of [-1,1]."""
    return float((x.abs() >= LIMIT).double().mean())


def measure(images: Images, real: Real) -> dict[str, float]:
    """Compare generated images, x [n,C,H,W], with real ones.

    `finite`: share of images without NaN and infinities; where that is not 1, the only number.
    `saturated`: share of values at the limits, of those that are not there in real images.
    `shift`: largest distance of a channel's mean from the real one, in standard deviations of real values.
    `spread`: standard deviation of all values, as a share of the real one.
    `contrast`: standard deviation within an image, as a share of that of real ones; 0: each is of one colour.
    `diversity`: variance among images (of one class, where classes are known), as a share of the real one.
    """
    x, labels = images.x.float(), images.labels
    finite = float(x.flatten(1).isfinite().all(1).double().mean())
    if finite < 1 or len(x) < 2:
        return {"finite": finite}
    found = {"finite": finite}
    if real.saturated is not None and real.saturated < 1:
        found["saturated"] = max(at_limits(x) - real.saturated, 0.0) / (1 - real.saturated)
    std = max(real.std, 1e-12)
    found["shift"] = float((x.mean((0, 2, 3)) - real.mean).abs().max()) / std
    found["spread"] = float(x.std()) / std
    if real.contrast > 0:
        found["contrast"] = contrast(x) / real.contrast
    ours, theirs = Spread.of(x, labels), real.spread
    if ours.within is None or theirs.within is None:
        return found | {"diversity": ours.total / max(theirs.total, 1e-12)}
    return found | {"diversity": ours.within / max(theirs.within, 1e-12)}
