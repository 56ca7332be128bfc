"""What was computed of real images is not computed again for the same ones, and is for any others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from distillkit_metrics.layers import Layers
from distillkit_metrics.once import KEPT, once
from torch import Tensor

X = torch.arange(12, dtype=torch.float64).reshape(6, 2)
GROUPS = torch.tensor([0, 0, 0, 1, 1, 1])
POOL = Layers({"fd": X}, GROUPS)


@pytest.fixture
def asked() -> list[tuple]:
    return []


@pytest.fixture
def total(asked: list[tuple]) -> Callable[..., float]:
    @once
    def total(pool: Layers, shares: Tensor, n: int, k: int = 1) -> float:
        """A sum."""
        asked.append((n, k))
        return float(pool.main.sum() + shares.sum()) * n * k

    return total


def test_the_same_images_are_asked_once(total: Callable[..., float], asked: list[tuple]) -> None:
    first = total(POOL, X[0], 2, k=3)
    again = total(Layers({"fd": X.clone()}, GROUPS.clone()), X[0].clone(), 2, k=3)
    assert first == again == 67 * 6 and asked == [(2, 3)] and total.__doc__ == "A sum."


@pytest.mark.parametrize(
    "other",
    [
        (Layers({"fd": X + torch.eye(6, 2)}, GROUPS), X[0], 2),
        (Layers({"sfd": X, "fd": X}, GROUPS), X[0], 2),
        (Layers({"fd": X}, GROUPS.flip(0)), X[0], 2),
        (Layers({"fd": X.float()}, GROUPS), X[0], 2),
        (POOL, X[1], 2),
        (POOL, X[:1], 2),
        (POOL, X[0], 3),
    ],
)
def test_others_are_asked_anew(total: Callable[..., float], asked: list[tuple], other: tuple) -> None:
    total(POOL, X[0], 2)
    total(*other)
    assert len(asked) == 2


def test_the_latest_are_kept(total: Callable[..., float], asked: list[tuple]) -> None:
    for n in [*range(KEPT + 1), KEPT, 0]:
        total(POOL, X[0], n)
    assert [n for n, _ in asked] == [*range(KEPT + 1), 0]
