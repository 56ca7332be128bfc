"""Distances between images, each by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distillkit.distances import distance, in_features, wants_features

X = torch.linspace(-1, 1, 3 * 8).view(3, 2, 2, 2)  # three images of 8 values


@pytest.mark.parametrize(
    ("name", "value"), [("l2", 0.25), ("l1", 0.5), ("huber", (0.25 * 8 + 0.09) ** 0.5 - 0.3), ("lpips", 0.5)]
)
def test_distances_by_hand(name: str, value: float) -> None:
    pooled = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())  # two features, each 0.5 apart
    found = distance(name, X, X - 0.5, 0.3, pooled)
    torch.testing.assert_close(found, torch.full((3,), value))
    assert distance(name, X, X, 0.3, pooled).abs().max() < 1e-6


def test_the_pseudo_huber_distance_is_l2_near_zero_and_grows_like_the_norm() -> None:
    a = torch.full((1, 3, 2, 2), 1e-4)
    near = distance("huber", a, torch.zeros_like(a), 0.03)
    assert float(near) == pytest.approx(12 * 1e-8 / 0.06, rel=1e-2)
    assert float(distance("huber", 1e6 * a, 0 * a, 0.03)) == pytest.approx(math.sqrt(12) * 100 - 0.03, rel=1e-5)


def test_a_distance_in_features_is_a_sum_over_features_for_each_image() -> None:
    shifts = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1)
    torch.testing.assert_close(in_features(nn.Flatten(), X, X + shifts), torch.tensor([0.0, 8.0, 32.0]))


@pytest.mark.parametrize(("name", "features", "fits"), [("lpips", 1, True), ("l2", None, True), ("l2", 1, False),
                                                        ("lpips", None, False)])  # fmt: skip
def test_lpips_wants_features_and_features_want_lpips(name: str, features: int | None, fits: bool) -> None:
    config = SimpleNamespace(distance=name)
    if fits:
        return wants_features(config, None, features)
    with pytest.raises(ValueError, match="'features' goes with"):
        wants_features(config, None, features)
