"""Running means of what a run reports, kept as tensors so that recording never waits for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Records:
    """Sums and counts by name since the last tick."""

    def __init__(self, share: float = 1) -> None:
        """`share`: what a number of this process counts for; those of all ranks count as that of one alone.

        So a tick that began on one process and went on with four is the mean over its iterations still.
        """
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor | float] = {}
        self.share = self.weight = share

    def add(self, name: str, value: Tensor | float, skipped: Tensor | None = None) -> None:
        """Add a value []; where `skipped`, bool [], is True, it is as if there had been none."""
        # Detached: a sum over a tick would keep the graphs of all its iterations.
        value = torch.as_tensor(value).detach().double()
        if skipped is not None:
            value = torch.where(skipped, 0.0, value)
        count: Tensor | float = self.weight if skipped is None else ~skipped
        if self.weight != 1:  # alone counts stay whole numbers
            value = value * self.weight
            count = self.weight if skipped is None else (~skipped).double() * self.weight
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0) + count

    @contextmanager
    def weighing(self, weight: float) -> Iterator[None]:
        """Inside, what is recorded counts so much: a rank with more rows says more of the batch."""
        self.weight = weight
        try:
            yield
        finally:
            self.weight = self.share

    def means(self) -> dict[str, float]:
        """By name, of what there is; waits for the device."""
        return {name: total / count for name, (total, count) in sorted(self.state().items()) if count}

    def clear(self) -> None:
        self.sums.clear()
        self.counts.clear()

    def state(self) -> dict[str, list[float]]:
        return {name: [float(total), number(self.counts[name])] for name, total in self.sums.items()}

    def load(self, state: dict[str, list[float]], device: torch.device) -> None:
        self.sums = {name: torch.tensor(total, dtype=torch.float64) for name, (total, _) in state.items()}
        self.sums = {name: total.to(device) for name, total in self.sums.items()}
        self.counts = {name: count for name, (_, count) in state.items()}


def number(count: Tensor | float) -> float:
    """A count, whole where the passes are alike; waits for the device."""
    return count.item() if isinstance(count, Tensor) else count
