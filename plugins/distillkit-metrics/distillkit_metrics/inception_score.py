"""Metric `inception-score`: how sure the Inception is of each image, and of how many classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distillkit.api import Draw, Features, InputError, State, UsageError, field, frozen, ge, hookimpl
from distillkit_metrics.order import shuffled
from distillkit_metrics.published import Published, PublishedConfig

if TYPE_CHECKING:
    from collections.abc import Iterable


def inception_score(p: Tensor, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation (1/n) of exp(mean KL(p(y|x) || mean p)) over consecutive splits of p [N,classes].

    Source: arXiv:1606.03498, section 4.
    """
    if len(p) < splits:
        raise InputError(f"an inception score over {splits} splits needs as many images; got {len(p)}")
    scores = []
    for i in range(splits):
        part = p[i * len(p) // splits : (i + 1) * len(p) // splits].double()
        kl = torch.xlogy(part, part) - torch.xlogy(part, part.mean(0))  # 0 log 0 = 0
        scores.append(kl.sum(1).mean().exp())
    found = torch.stack(scores)
    return float(found.mean()), float(found.std(correction=0))


class InceptionScore(Published):
    """Inception score over consecutive splits, with the TorchScript Inception (arXiv:1606.03498).

    `inception_score_sd` is the deviation between splits; `inception_score_ceiling` is of as many training images.
    """

    better = {"inception_score": "higher"}
    means = {"inception_score": "How clearly images belong to classes, and to how many; it sees no real image."}
    probabilities = True

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        splits: int = field(default=10, validator=ge(1))  # parts of the images; the score is the mean over them

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError for features without class probabilities."""
        super().setup(state)
        if self.config.images < self.config.splits:
            raise UsageError(f"splits: {self.config.splits} need as many images; there are {self.config.images}")
        if type(self.features).probabilities is Features.probabilities:
            raise UsageError(
                f"inception-score needs class probabilities, which features {self.config.features.name!r} do not give: "
                'write features.use = "inception"'
            )
        self._ceiling: float | None = None

    @property
    def protocol(self) -> dict[str, str]:
        return {"protocol": f"{self.config.splits} consecutive splits, no output bias", **super().protocol}

    @hookimpl
    def evaluate(self, state: State, draw: Draw) -> dict[str, float]:
        """Mean and spread over the splits, and the mean of real images."""
        mean, sd = self._score(self.generated(state, draw))
        if self._ceiling is None and self.config.floor:
            size = len(state.dataset)
            index = shuffled(0, "evaluate/real", 0, min(self.config.images, size), size)
            self._ceiling, _ = self._score(map(self.net.of, self.real(state, state.dataset, index)))
            self._told["ceiling"] = f"{len(index)} training images"
        found = {"inception_score": mean, "inception_score_sd": sd}
        return found if self._ceiling is None else {**found, "inception_score_ceiling": self._ceiling}

    def _score(self, parts: Iterable[Tensor]) -> tuple[float, float]:
        return inception_score(torch.cat([p.cpu() for p in parts]), self.config.splits)
