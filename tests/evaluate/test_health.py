"""What images say of a run's health, on images of which the answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distillkit.api import Images
from distillkit.evaluate import health
from distillkit.evaluate.health import Real, Spread
from distillkit.testing.toys import toy_state


@pytest.fixture(scope="module")
def real() -> tuple[Tensor, Tensor | None, Real]:
    dataset = toy_state().dataset
    index = torch.arange(len(dataset))
    return dataset.pixels(index), dataset.labels(index), Real.of(dataset)


def test_real_images_are_like_themselves(real: tuple[Tensor, Tensor | None, Real]) -> None:
    x, labels, facts = real
    found = health.measure(Images(x, labels), facts)
    assert found == {
        "finite": 1.0, "saturated": 0.0, "shift": pytest.approx(0, abs=1e-6), "spread": pytest.approx(1),
        "contrast": pytest.approx(1), "diversity": pytest.approx(1),
    }  # fmt: skip


def test_variance_within_classes_is_that_about_the_means_of_classes() -> None:
    labels = torch.eye(2).repeat(500, 1)
    n = torch.randn(1000, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = 3 * labels[:, :1, None, None] + 0.1 * n
    found = Spread.of(x, labels)
    assert found.within == pytest.approx(0.01, rel=0.1) and found.total == pytest.approx(2.25 + 0.01, rel=0.02)
    assert Spread.of(x, None).within is None
    assert Spread.of(x[:4], torch.eye(4)).within is None  # no class has two images


def test_one_image_for_each_class_has_no_diversity(real: tuple[Tensor, Tensor | None, Real]) -> None:
    x, labels, facts = real
    if labels is None:
        labels = torch.eye(2)[torch.arange(len(x)) % 2]
        facts = Real(facts.mean, facts.std, facts.saturated, facts.contrast, Spread.of(x, labels))
    group = labels.argmax(1)
    means = torch.stack([x[group == c].mean(0) for c in range(labels.shape[1])])[group]
    assert health.measure(Images(means, labels), facts)["diversity"] < 1e-6


def test_an_image_that_is_not_finite_leaves_only_that(real: tuple[Tensor, Tensor | None, Real]) -> None:
    x, labels, facts = real
    x = x.clone()
    x[0, 0, 0, 0] = torch.nan
    assert health.measure(Images(x, labels), facts) == {"finite": pytest.approx(1 - 1 / len(x))}


def test_values_at_the_limits_are_compared_with_those_of_real_images(real: tuple[Tensor, Tensor | None, Real]) -> None:
    x, labels, facts = real
    facts = Real(facts.mean, facts.std, 0.5, facts.contrast, facts.spread)  # as on digits, with their background
    half = x.sign().masked_fill(torch.arange(len(x)).view(-1, 1, 1, 1) % 4 == 0, 0)
    assert health.measure(Images(half, labels), facts)["saturated"] == pytest.approx(0.5, abs=0.01)
