"""Precision, recall, density, coverage and KID: cases by hand, published numbers, invariances."""

from __future__ import annotations

import pytest
import torch
from distillkit_metrics import kid as kid_module
from distillkit_metrics import manifold
from distillkit_metrics.kid import kid
from distillkit_metrics.manifold import density_coverage, precision_recall, radii
from torch import Tensor

from distillkit.api import InputError


def line(*positions: float) -> Tensor:
    return torch.tensor(positions).unsqueeze(1)


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
    assert density_coverage(real, line(100), k=1) == (0.0, 0.0)
    assert density_coverage(real, line(0.5), k=1) == (2.0, 0.5)


def test_precision_and_recall_are_those_of_the_published_code(reference) -> None:
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
    before = *precision_recall(real, fake), *density_coverage(real, fake), kid(real, fake)
    monkeypatch.setattr(manifold, "ROWS", 7)
    monkeypatch.setattr(kid_module, "ROWS", 7)
    after = *precision_recall(real, fake[order]), *density_coverage(real, fake[order]), kid(real, fake[order])
    assert before == pytest.approx(after, abs=1e-12)


def test_too_few_images_for_k_neighbours_are_refused() -> None:
    with pytest.raises(InputError, match="more than 3 images; got 3"):
        precision_recall(cloud(10, 0), cloud(3, 1), k=3)


def test_kid_by_hand() -> None:
    # D=1, k(a,b) = (ab+1)^3: real pair k(0,1)=1, fake pair k(1,2)=27, cross k = 1, 1, 8, 27.
    assert kid(line(0, 1), line(1, 2)) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_kid_has_no_bias_between_samples_of_one_distribution() -> None:
    values = torch.tensor([kid(cloud(30, 2 * s), cloud(20, 2 * s + 1)) for s in range(200)])
    assert abs(values.mean()) < 3 * values.std() / 200**0.5
    assert values.min() < 0 < values.max()


def test_kid_sees_a_shift_and_needs_two_images() -> None:
    assert kid(cloud(200, 0), cloud(200, 1) + 1) > 1
    with pytest.raises(InputError, match="at least 2 images"):
        kid(cloud(5, 0), cloud(1, 1))
