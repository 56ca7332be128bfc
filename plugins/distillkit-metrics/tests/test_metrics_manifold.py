"""Precision, recall, density and coverage: cases by hand, published numbers, invariances, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from distillkit_metrics import manifold
from distillkit_metrics.manifold import compared, radii
from torch import Tensor

from distillkit.api import InputError


def line(*positions: float) -> Tensor:
    return torch.tensor(positions).unsqueeze(1)


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    found = compared(real, fake, k)
    return found["precision"][0], found["recall"][0]


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    found = compared(real, fake, 1, k)
    return found["density"][0], found["coverage"][0]


def cloud(n: int, seed: int, d: int = 6) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_radii_are_distances_to_the_kth_other_point() -> None:
    assert radii(line(0, 1, 3, 7).double(), 1).tolist() == [1, 1, 2, 4]
    assert radii(line(0, 1, 3, 7).double(), 2).tolist() == [3, 2, 3, 6]


def test_precision_and_recall_by_hand() -> None:
    real, fake = line(0, 1, 3, 7), line(-1, 4.5, 12, 13)
    # k=1: real balls [-1,1] [0,2] [1,5] [3,11] hold -1 and 4.5; fake radii 5.5, 5.5, 1, 1 reach all of 0, 1, 3, 7.
    assert precision_recall(real, fake, k=1) == (0.5, 1.0)


def test_density_and_coverage_by_hand() -> None:
    real, fake = line(0, 1, 3, 7), line(0.5, 4, 12)
    # k=1: open real balls (-1,1) (0,2) (1,5) (3,11): 0.5 lies in two, 4 in two, 12 in none; no ball is empty.
    density, coverage = density_coverage(real, fake, k=1)
    assert density == pytest.approx(4 / 3) and coverage == 1.0
    assert density_coverage(real, line(100, 100), k=1) == (0.0, 0.0)
    assert density_coverage(real, line(0.5, 0.5), k=1) == (2.0, 0.5)


def test_precision_and_recall_are_those_of_the_published_code(reference: dict[str, np.ndarray]) -> None:
    real, gen = (torch.from_numpy(reference[name]) for name in ("real_features", "gen_features"))
    expected = float(reference["precision_k3"]), float(reference["recall_k3"])
    assert precision_recall(real, gen, k=3) == pytest.approx(expected, abs=1e-6)


def test_a_copy_of_the_real_images_is_perfect() -> None:
    real = cloud(60, 0)
    assert precision_recall(real, real) == (1.0, 1.0)
    assert density_coverage(real, real) == pytest.approx((1.0, 1.0))


def test_far_away_images_are_worthless() -> None:
    real = cloud(60, 0)
    assert precision_recall(real, real + 1000) == (0.0, 0.0) == density_coverage(real, real + 1000)


def test_the_order_of_images_and_the_block_size_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake, order = cloud(50, 0), cloud(40, 1), torch.randperm(40, generator=torch.Generator().manual_seed(2))
    before = compared(real, fake, 3, 5)
    monkeypatch.setattr(manifold, "ROWS", 7)
    after = compared(real, fake[order], 3, 5)
    assert {name: pytest.approx(value, abs=1e-12) for name, value in before.items()} == after


def test_too_few_images_for_k_neighbours_are_refused() -> None:
    with pytest.raises(InputError, match="more than 3 images; got 3"):
        precision_recall(cloud(10, 0), cloud(3, 1), k=3)


def test_errors_are_as_large_as_the_spread_over_samples() -> None:
    real = cloud(400, 0)
    runs = [compared(real, 0.9 * cloud(300, 1 + s), 3, 5) for s in range(60)]
    for name in ("precision", "recall", "density", "coverage"):
        values, errors = torch.tensor([run[name] for run in runs]).T
        assert 0.75 < errors.mean() / values.std() < 2.2, name


def test_the_error_of_a_share_is_that_of_its_classes_alone() -> None:
    """Half of the images are inside without exception, half outside: in these proportions nothing varies."""
    real = cloud(200, 0)
    fake = torch.cat([real[:50], real[:50] + 1000])
    groups = torch.arange(2).repeat_interleave(50)
    assert compared(real, fake, groups=groups)["precision"] == (0.5, 0.0)
    assert compared(real, fake)["precision"][1] == pytest.approx((0.25 / 99) ** 0.5)
