"""What f-distill divides by: averages over images, of all or of those in one range of noise levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from distillkit.api import State, Step

SMALL = 1e-6


class Averages:
    """Of values in bins [K]: e <- rate e + (1 - rate) mean, once an update, for bins that an image fell into.

    The mean is that of the batch in all processes. With micro-batches it is not known before the last of them: then all
    of an update see e as the update before left it, and e moves in `end`. So no number depends on who computes it.
    """

    def __init__(self, state: State, bins: int, rate: float, start: float) -> None:
        """`start`: e before the first update."""
        self.rate, self.late = rate, state.recipe.run.micro_batch is not None
        self.e = torch.full((bins,), start, device=state.device, dtype=state.dtype)
        self.sums = self.e.new_zeros(2, bins)  # of an update that is not over: of values, of images
        self.moves = False  # whether there are sums that `end` must look at

    def __call__(self, step: Step, values: Tensor, bins: Tensor | int = 0) -> Tensor:
        """e [N] of the bin, int64 [N], of each of values [N], which carry no gradient."""
        at = torch.zeros_like(values, dtype=torch.int64) + bins
        inside = (at[:, None] == torch.arange(len(self.e), device=at.device)).to(values)
        sums = torch.stack([values[:, None] * inside, inside], 1)  # [N,2,K]
        if self.late:
            self.sums, self.moves = self.sums + sums.sum(0), True
        else:
            self.move(step.mean(sums) * step.batch)
        found: Tensor = self.e[at]
        return found

    def move(self, sums: Tensor) -> None:
        """By the sum of values and their number [2,K]; what is not finite stays out."""
        mean = sums[0] / (sums[1] + SMALL)
        moved = self.rate * self.e + (1 - self.rate) * mean
        self.e = torch.where((sums[1] > 0) & mean.isfinite(), moved, self.e)

    def end(self, state: State) -> None:
        """After an iteration, whether it had the values or not."""
        if self.moves:
            self.move(state.gather(self.sums[None]).sum(0))
            self.sums, self.moves = torch.zeros_like(self.sums), False

    def load(self, e: Any) -> None:
        self.e.copy_(e)
