"""A loss beside its paper's own code: the engine's step with recorded draws, and the denoiser to record with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from distillkit.train.state import State
from distillkit.train.step import Step


def replayed(
    state: State, draws: Sequence[Tensor], x: Tensor | None = None, real: Tensor | None = None, turn: str = "generator"
) -> Step:
    """What a turn sees where the k-th draw of a loss is `draws[k]` [N, ...]: unit normal, or uniform in [0,1).

    `x`, `real` [N,C,H,W]: its generated and real images; None: the state's own. `lognormal_draw` is the draw behind a
    recorded sigma. More draws than were recorded, or others, are an error.
    """
    return Replayed(state, draws, x, real, turn)


def lognormal_draw(sigma: Tensor, P_mean: float, P_std: float) -> Tensor:
    """The unit normal [N,1,1,1] of which `step.lognormal_sigma(P_mean, P_std)` makes sigma [N,1,1,1]."""
    return (sigma.log() - P_mean) / P_std


class Replayed(Step):
    """A step with recorded draws."""

    def __init__(self, state: State, draws: Sequence[Tensor], x: Tensor | None, real: Tensor | None, turn: str) -> None:
        n = next((len(given) for given in (x, real, *draws) if given is not None), state.batch)
        super().__init__(state, turn, 0, n, n, trains_generator=True, x=x)
        self.draws = draws
        if real is not None:
            self.real = real

    def _rows(self, kind: str, shape: tuple[int, ...]) -> Tensor:
        self._draws += 1
        assert self._draws <= len(self.draws), f"draw {self._draws}, {kind}{list(shape)}, was not recorded"
        found = self.draws[self._draws - 1]
        wanted = [self.n, *shape]
        assert list(found.shape) == wanted, f"draw {self._draws} was recorded as {list(found.shape)}, not {wanted}"
        assert kind == "randn" or bool(((found >= 0) & (found < 1)).all()), f"draw {self._draws} is not in [0,1)"
        return found.to(self.state.device, self.state.dtype)


class Call(NamedTuple):
    """What a network was asked, and what it said."""

    x: Tensor
    sigma: Tensor
    labels: Tensor | None
    augment_labels: Tensor | None
    D: Tensor
    training: bool


class Affine(nn.Module):
    """D = A x + B (1 + 0.1 ln sigma) with A, B [N,C,H,W], one pair an image: small enough to give to any paper's code.

    `calls` are what it was asked and what it said, D with its gradient.
    """

    sigma_min, sigma_max = 0.0, math.inf

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.A, self.B = nn.Parameter(A.clone()), nn.Parameter(B.clone())
        self.calls: list[Call] = []

    def forward(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        D = self.A * x + self.B * (1 + 0.1 * sigma.log())
        if D.requires_grad:
            D.retain_grad()
        self.calls.append(Call(x, sigma, labels, augment_labels, D, self.training))
        return D
