"""Metric `precision-recall`: precision and recall as StyleGAN's code and SiD's compute them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distillkit import noise
from distillkit.api import Draw, State, field, frozen, ge, hookimpl
from distillkit_metrics import reference
from distillkit_metrics.manifold import precision_recall
from distillkit_metrics.published import Published, PublishedConfig

if TYPE_CHECKING:
    from torch import Tensor


class PrecisionRecall(Published):
    """Improved precision and recall as SiD computes them: k = 3 in Inception features (arXiv:1904.06991).

    Features of all images are held: 4 bytes per number, 0.4 GB for 50,000 x 2048, and the same for the real ones.
    """

    better = {"precision": "higher", "recall": "higher"}

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        k: int = field(default=3, validator=ge(1))  # neighbours of each image
        max_real: int = field(default=200_000, validator=ge(2))  # training images; of more, a fixed random choice

    @hookimpl
    def setup(self, state: State) -> None:
        super().setup(state)
        self._real: Tensor | None = None
        self._floors: dict[str, float] = {}

    @property
    def protocol(self) -> dict[str, str]:
        return {"protocol": f"SiD, k = {self.config.k}, exact distances in float64", **super().protocol}

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        """Precision, recall and their floors."""
        if self._real is None:
            self._measure_real(state)
        return {**self._compare(self._real, self.gathered(self.generated(state, draw))), **self._floors}

    def _compare(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        return dict(zip(("precision", "recall"), precision_recall(real, fake, self.config.k), strict=True))

    def _measure_real(self, state: State) -> None:
        """Features of the training images, and the floors: held-out against them, or half against half."""
        size = len(state.dataset)
        index = noise.shuffled(0, "evaluate/real", 0, min(self.config.max_real, size), size)
        self._real = self.gathered(self.real(state, state.dataset, index))
        digest = reference.digest(state.dataset, self.config.batch)
        self._told["reference"] = f"{len(index)} of {size} training images, sha256 of all {digest}"
        if not self.config.floor:
            return
        if state.held_out is not None:
            test = self.gathered(self.real(state, state.held_out, torch.arange(len(state.held_out))))
            sides, told = (self._real, test), f"{len(test)} held-out images against the reference"
        else:
            sides = self._real[::2], self._real[1::2]
            told = "half of the reference against the other half"
        self._told["floor"] = told
        self._floors = {f"{name}_floor": value for name, value in self._compare(*sides).items()}
