"""Mean and covariance over far more generated images than one batch holds, differentiable in the batch.

Queue and moving average are the two estimators of FD-loss (arXiv:2604.28190); the latter is its Eq. (4) and (5).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Population:
    """Running sums of features [N,D] in float64; `moments(f)` counts the batch f in, with its gradient.

    The batch's gradient is scaled up to the whole population's, as if all of it came from the generator of now.
    """

    def __init__(self, dim: int, size: int, device: torch.device) -> None:
        self.size, self.count = size, 0.0  # images it may hold, and holds
        self.first = torch.zeros(dim, dtype=torch.float64, device=device)  # sum of f
        self.second = torch.zeros(dim, dim, dtype=torch.float64, device=device)  # sum of f f^T

    def forget(self, n: int) -> None:
        """Make room for n images."""
        raise NotImplementedError

    def moments(self, f: Tensor) -> tuple[Tensor, Tensor, float]:
        """Mean [D], covariance [D,D] (over N-1) of the population with the batch f [N,D] in it, and its size."""
        f = f.double()
        self.forget(len(f))
        n = self.count + len(f)
        live = f.detach() + n / len(f) * (f - f.detach())  # the same numbers, a scaled gradient
        mean = (self.first + live.sum(0)) / n
        cov = ((self.second + live.T @ live) / n - mean.outer(mean)) * (n / max(n - 1, 1))
        return mean, cov, n

    def add(self, f: Tensor) -> None:
        """Keep the batch f [N,D] for later ones."""
        f = f.detach().double()
        self.first += f.sum(0)
        self.second += f.T @ f
        self.count += len(f)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "first": self.first, "second": self.second}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]
        self.first, self.second = state["first"], state["second"]


class Queue(Population):
    """The newest `size` images: first in, first out."""

    def __init__(self, dim: int, size: int, device: torch.device) -> None:
        super().__init__(dim, size, device)
        self.rows = torch.zeros(size, dim, dtype=torch.float64, device=device)
        self.at = 0  # the next row to write

    def _slots(self, n: int) -> Tensor:
        return (torch.arange(n, device=self.rows.device) + self.at) % self.size

    def forget(self, n: int) -> None:
        old = self.rows[self._slots(n)]  # zeros where nothing was written yet
        self.first -= old.sum(0)
        self.second -= old.T @ old
        self.rows[self._slots(n)] = 0
        self.count = min(self.count, self.size - n)

    def add(self, f: Tensor) -> None:
        super().add(f)
        self.rows[self._slots(len(f))] = f.detach().double()
        self.at = (self.at + len(f)) % self.size

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "rows": self.rows, "at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.rows, self.at = state["rows"], int(state["at"])


class Fading(Population):
    """An exponential average that holds about `size` images' worth."""

    def forget(self, n: int) -> None:
        keep = 1 - n / self.size
        self.first, self.second, self.count = self.first * keep, self.second * keep, self.count * keep


POPULATIONS = {"queue": Queue, "ema": Fading}
