"""Metric `precision-recall`: precision and recall as StyleGAN's code and SiD's compute them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distillkit.api import Draw, State, field, frozen, ge, hookimpl
from distillkit_metrics import reference
from distillkit_metrics.floors import sides
from distillkit_metrics.manifold import Measured, compared
from distillkit_metrics.order import shuffled
from distillkit_metrics.published import Published, PublishedConfig

if TYPE_CHECKING:
    from torch import Tensor


class PrecisionRecall(Published):
    """Improved precision and recall as SiD computes them: k = 3 in Inception features (arXiv:1904.06991).

    Features of all images are held: 4 bytes per number, 0.4 GB for 50,000 x 2048, and the same for the real ones.
    """

    better = {"precision": "higher", "recall": "higher"}
    means = {
        "precision": "Share of generated images that look like some real one: quality.",
        "recall": "Share of real images that some generated one looks like: variety.",
    }

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        k: int = field(default=3, validator=ge(1))  # neighbours of each image
        max_real: int = field(default=200_000, validator=ge(2))  # training images; of more, a fixed random choice

    @hookimpl
    def setup(self, state: State) -> None:
        super().setup(state)
        self._real: Tensor | None = None
        self._ceilings: dict[str, float] = {}

    @property
    def protocol(self) -> dict[str, str]:
        return {"protocol": f"SiD, k = {self.config.k}, exact distances in float64", **super().protocol}

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        """Precision, recall, their standard errors and their ceilings."""
        real = self._measure_real(state)
        shares = compared(real, torch.cat([*self.generated(state, draw)]), self.config.k)
        return _named(shares) | self._ceilings

    def _measure_real(self, state: State) -> Tensor:
        """Features of the training images, measured once, as the ceilings are."""
        if self._real is None:
            size = len(state.dataset)
            index = shuffled(0, "evaluate/real", 0, min(self.config.max_real, size), size)
            self._real = self.embedded(self.real(state, state.dataset, index))
            digest = reference.digest(state.dataset, self.config.batch)
            self._told["reference"] = f"{len(index)} of {size} training images, sha256 of all {digest}"
            if self.config.floor:
                self._measure_ceilings(state, self._real)
        return self._real

    def _measure_ceilings(self, state: State, real: Tensor) -> None:
        """Of one split of all real images into two sides as large as generated and real ones, or like them."""
        pool = real
        if state.held_out is not None:
            test = self.embedded(self.real(state, state.held_out, torch.arange(len(state.held_out))))
            pool = torch.cat([real, test])
        pool = pool[shuffled(0, "evaluate/ceiling", 0, len(pool), len(pool)).to(pool.device)]
        n, m = sides(self.config.images, len(real), len(pool))
        shares = compared(pool[n : n + m], pool[:n], self.config.k)
        self._told["ceiling"] = f"{n} real images against {m} others"
        self._ceilings = _named({f"{name}_ceiling": value for name, value in shares.items()})


def _named(shares: Measured) -> dict[str, float]:
    errors = {f"{name}_sd": error for name, (_, error) in shares.items()}
    return {name: value for name, (value, _) in shares.items()} | errors
