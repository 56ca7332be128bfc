"""The squared bandwidth of each embedding, averaged over steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Bandwidths:
    """A plain mean over the first steps, then an exponential one: a small batch's own value is noisy."""

    def __init__(self, embeddings: int, decay: float, device: torch.device, dtype: torch.dtype) -> None:
        self.decay = decay
        self.round = 0  # the draw of embeddings that these belong to
        self.s2 = torch.zeros(embeddings, device=device, dtype=dtype)
        self.steps = torch.zeros(embeddings, device=device, dtype=dtype)

    def restart(self, round: int) -> None:
        """Forget the averages unless they are of this round."""
        if round != self.round:
            self.round = round
            self.s2.zero_()
            self.steps.zero_()

    def update(self, i: int, measured: Tensor) -> Tensor:
        """Take this step's value [] for embedding i and return the average [].

        A value that is not finite fails this step's loss, as it should, but must not stay in the average.
        """
        rate = (1 / (self.steps[i] + 1)).clamp(min=1 - self.decay)
        good = measured.isfinite()
        self.s2[i] += torch.where(good, rate * (measured - self.s2[i]), 0)
        self.steps[i] += good
        return self.s2[i].clone()

    def state_dict(self) -> dict[str, Any]:
        return {"round": self.round, "s2": self.s2.clone(), "steps": self.steps.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.round = state["round"]
        self.s2.copy_(state["s2"])
        self.steps.copy_(state["steps"])
