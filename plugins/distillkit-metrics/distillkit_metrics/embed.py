"""Features of generated images, computed where the images are made: these stay there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distillkit.api import Draw, Features
from distillkit_metrics.pixels import check_finite, quantised


class Layers:
    """Layers of `features` side by side, float32 [n,D], of x [n,C,H,W] clamped to [-1,1].

    `widths` are those of the layers by name. Raises Diverged for images that are not finite.
    """

    def __init__(self, features: Features, widths: Mapping[str, int]) -> None:
        self.features, self.widths = features, dict(widths)

    def __call__(self, x: Tensor) -> Tensor:
        check_finite(x, "generated images")
        # On the CPU, as the real images are, so that equal images have equal features.
        found = self.features(x.float().cpu().clamp(-1, 1))
        return torch.cat([found[name] for name in self.widths], 1)

    def apart(self, side_by_side: Tensor) -> dict[str, Tensor]:
        """The layers by name, float64 [n,D]."""
        parts = side_by_side.double().split(list(self.widths.values()), 1)
        return dict(zip(self.widths, parts, strict=True))


class Levels:
    """Penultimate features, or class probabilities, of x [n,C,H,W] in 8-bit levels, computed where x is.

    Raises Diverged for images that are not finite.
    """

    def __init__(self, features: Features, probabilities: bool = False) -> None:
        self.features, self.probabilities = features, probabilities
        self.home = torch.device("cpu")  # where the features left theirs: some are always on the CPU

    def __call__(self, x: Tensor) -> Tensor:
        check_finite(x, "generated images")
        return self.of(quantised(x.cpu()).to(x.device))  # a GPU divides by multiplying: other bits

    def of(self, levels: Tensor) -> Tensor:
        """Those of images that are in 8-bit levels already."""
        found = self.features.probabilities(levels) if self.probabilities else self.features(levels)["penultimate"]
        self.home = found.device
        return found


def generated(
    draw: Draw, net: Layers | Levels, n: int, batch: int, seed: int, labels: Any, first: int | None = None
) -> Tensor:
    """Features [n,D] by `net` of images that `draw` gives, `batch` of them at a time.

    A draw of somebody else's making, a plain function, gives the images themselves.
    """
    where = {} if first is None else {"first": first}
    if hasattr(draw, "features"):
        return draw.features(net, n, seed=seed, labels=labels, batch=batch, **where)
    return torch.cat([net(x) for x in draw(n, seed=seed, labels=labels, **where).x.split(batch)])


def picked(draw: Draw, index: Tensor, n: int, seed: int, labels: Tensor | None) -> Tensor:
    """Images `index` of those n, x [k,C,H,W]."""
    if not hasattr(draw, "features"):
        return draw(n, seed=seed, labels=labels).x[index]
    ones = [(i, None if labels is None else labels[i : i + 1]) for i in index.tolist()]
    return torch.cat([draw(1, seed=seed, labels=label, first=i).x for i, label in ones])
