"""Images as metrics see them, and features of whole sets."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import Tensor

from distillkit.api import Dataset, Diverged, Features

CHUNK = 500  # images per call of the feature network


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


def measured_set(features: Features, dataset: Dataset, content: Content | None = None) -> dict[str, Tensor]:
    """Features by name, float64 [N,D], of every image; the images themselves are never in memory together.

    `content` hashes them on the way.
    """
    parts = []
    for index in torch.arange(len(dataset)).split(CHUNK):
        x = dataset.pixels(index)
        if content is not None:
            content.add(x)
        parts.append(measured(features, x))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class Content:
    """sha256 of a data set's images in 8-bit levels, with their number and shape."""

    def __init__(self, dataset: Dataset) -> None:
        self._hash = hashlib.sha256(json.dumps([len(dataset), *dataset.shape]).encode())

    def add(self, x: Tensor) -> None:
        """Go on with images x [n,C,H,W]."""
        self._hash.update((quantised(x) * 127.5 + 128).to(torch.uint8).numpy().tobytes())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def check_finite(x: Tensor, what: str) -> None:
    """Raises Diverged for images x [n,C,H,W] that hold a value that is not finite."""
    bad = int((~x.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise Diverged(f"{bad} of {len(x)} {what} hold non-finite values; nothing to measure")
