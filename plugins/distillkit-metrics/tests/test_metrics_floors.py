"""Real images against real ones come out at the floor, on digits and on Gaussians with known distance."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from distillkit_metrics import floors
from distillkit_metrics.kid import Sample, kid
from distillkit_metrics.layers import Layers
from distillkit_metrics.real import Real
from distillkit_metrics.strata import split

D, CLASSES = 12, 4
SHARES = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64)


def mixture(n: int, seed: int) -> Layers:
    """n draws of a mixture of Gaussians in equal parts; "sfd" is of half of the axes."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.arange(n) % CLASSES
    means = 3 * torch.randn(CLASSES, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = means[groups] + torch.randn(n, D, generator=generator, dtype=torch.float64)
    return Layers({"fd": x, "sfd": x[:, : D // 2]}, groups)


@pytest.mark.parametrize(("n", "m"), [(200, 1000), (500, 500), (800, 1000), (1000, 4000)])
def test_fresh_samples_of_a_mixture_of_gaussians_are_at_the_floor(n: int, m: int) -> None:
    rules = floors.distance_rules(mixture(1800, 1), 1000, 1400)
    draws = [mixture(n, 2 + 2 * i).distances(mixture(m, 3 + 2 * i).moments()) for i in range(20)]
    for name, rule in rules.items():
        floor, sd = rule.at(n, m)
        values = torch.tensor([draw[name][0] for draw in draws])
        assert abs(values.mean() - floor) < sd and 0.5 < values.std() / sd < 2


def test_kid_of_fresh_samples_of_a_mixture_is_zero() -> None:
    sd = floors.kid_rule(mixture(1800, 1), SHARES, 200, 400).at(200, 400)[1]
    found = []
    for i in range(50):
        sides = (mixture(size, 2 * i + offset) for size, offset in ((400, 2), (200, 3)))
        found.append(kid(*(Sample.of(side.main, side.groups, SHARES) for side in sides))[0])
    values = torch.tensor(found)
    assert abs(values.mean()) < 2 * values.std() / 50**0.5 and 0.5 < values.std() / sd < 2


@pytest.fixture(scope="module")
def real(digits: SimpleNamespace) -> Real:
    return Real(digits.features, digits.state.dataset, digits.state.held_out, 1000, 3, 5)


def sides(pool: Layers, n: int, count: int) -> list[tuple[Layers, Layers]]:
    """Disjoint splits of all real digits that no floor was fitted on: n against all others."""
    generator = torch.Generator().manual_seed(77)
    return [tuple(pool[i] for i in split(pool.groups, n, len(pool) - n, generator)) for _ in range(count)]


@pytest.mark.parametrize("n", [200, 500, 800])
def test_real_digits_against_real_digits_are_at_the_floor(real: Real, n: int) -> None:
    pool = real.train + real.test
    assert len(pool) == 1797
    draws = [a.distances(b.moments()) for a, b in sides(pool, n, 20)]
    for name, rule in real.rules.items():
        floor, sd = rule.at(n, 1797 - n)
        values = torch.tensor([draw[name][0] for draw in draws])
        assert abs(values.mean() - floor) < sd and 0.4 < values.std() / sd < 2.5


def test_kid_of_real_digits_against_real_digits_is_zero(real: Real) -> None:
    found = []
    for a, b in sides(real.train + real.test, 300, 50):
        found.append(kid(*(Sample.of(side.main, side.groups, real.shares) for side in (b, a)))[0])
    values = torch.tensor(found)
    assert abs(values.mean()) < 2 * values.std() / 50**0.5


def test_the_features_of_the_digits_hardly_know_their_training_images(real: Real) -> None:
    """So unseen images come out at the floor too, which features that know the others would put far above it."""
    for name, (value, _) in real.test.distances(real.moments).items():
        floor, sd = real.rules[name].at(359, 1438)
        assert abs(value - floor) < 2 * sd
    assert real.knowing() == []


def test_features_that_know_the_training_images_are_named(real: Real, monkeypatch: pytest.MonkeyPatch) -> None:
    further = Layers({name: 1.2 * found for name, found in real.test.by_distance.items()}, real.test.groups)
    monkeypatch.setattr(real, "test", further)
    assert [line for line in real.knowing() if "features know the training images" in line]


def test_sides_of_a_split_are_those_of_the_measurement_or_like_them() -> None:
    assert floors.sides(200, 1438, 1797) == (200, 1438)
    assert floors.sides(1000, 1438, 1797) == (737, 1060)
    assert floors.sides(50_000, 1438, 1797) == (1438, 359)
    assert floors.sides(2000, 50_000, 12_000) == (2000, 10_000)


def test_a_rule_reaches_to_infinity() -> None:
    rule = floors.Rule(2.0, 0.5)
    assert rule.at(100, 400) == pytest.approx((0.025, 0.00625))
    assert rule.at(float("inf"), 400) == pytest.approx((0.005, 0.00125))


def test_ceilings_of_coverage_are_those_of_its_theory(real: Real) -> None:
    """Coverage of real images by real ones is 1 - (m/(n+m))^k nearly, whatever their distribution."""
    assert real.floors["coverage_ceiling"] == pytest.approx(1 - (1438 / 2438) ** 5, abs=0.02)
    assert real.floors["density_ceiling"] == pytest.approx(1, abs=0.05)
    assert 0.8 < real.floors["precision_ceiling"] < 1 and 0.8 < real.floors["recall_ceiling"] < 1
    assert real.floors["label_agreement_ceiling"] >= 0.985
