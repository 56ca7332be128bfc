"""KID: cases by hand, torchmetrics and brute force as oracles, no bias between samples in fixed proportions."""

from __future__ import annotations

import pytest
import torch
from distillkit_metrics import kid as kid_module
from distillkit_metrics.kid import Sample, kid
from torch import Tensor, nn

from distillkit.api import InputError

SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def cloud(n: int, seed: int, d: int = 6) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(real: Tensor, fake: Tensor) -> float:
    return kid(Sample.of(real), Sample.of(fake))[0]


def line(*positions: float) -> Tensor:
    return torch.tensor(positions).unsqueeze(1)


class Same(nn.Module):
    """Features that are the images."""

    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_by_hand() -> None:
    # D=1, k(a,b) = (ab+1)^3: real pair k(0,1)=1, fake pair k(1,2)=27, cross k = 1, 1, 8, 27.
    assert value(line(0, 1), line(1, 2)) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_torchmetrics_has_the_same_number_for_independent_draws() -> None:
    oracle = pytest.importorskip("torchmetrics.image.kid")
    real, fake = cloud(40, 0), cloud(40, 1) + 0.3
    metric = oracle.KernelInceptionDistance(feature=Same(), subsets=1, subset_size=40).set_dtype(torch.float64)
    for features, is_real in ((real, True), (fake, False)):
        metric.update(features.view(40, 6, 1, 1), real=is_real)
    assert value(real, fake) == pytest.approx(float(metric.compute()[0]), abs=1e-6)


def test_it_is_the_mean_over_pairs_of_every_two_strata() -> None:
    real, fake = cloud(11, 0, 3), cloud(8, 1, 3) + 0.5
    of_real, of_fake = torch.tensor([0] * 5 + [1] * 4 + [2] * 2), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])

    def mean(a: Tensor, ga: Tensor, i: int, b: Tensor, gb: Tensor, j: int) -> float:
        pairs = [(p, q) for p in (ga == i).nonzero() for q in (gb == j).nonzero() if not (a is b and p == q)]
        return sum((float(a[p[0]] @ b[q[0]]) / 3 + 1) ** 3 for p, q in pairs) / len(pairs)

    expected = sum(
        float(SHARES[i] * SHARES[j])
        * (mean(real, of_real, i, real, of_real, j) + mean(fake, of_fake, i, fake, of_fake, j)
           - 2 * mean(real, of_real, i, fake, of_fake, j))
        for i in range(3) for j in range(3)
    )  # fmt: skip
    assert kid(Sample.of(real, of_real, SHARES), Sample.of(fake, of_fake, SHARES))[0] == pytest.approx(expected)


def classes_apart(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n images in fixed proportions of three classes that lie far apart."""
    groups = torch.arange(3).repeat_interleave((SHARES * n).long())
    return cloud(n, seed) + 2 * groups[:, None], groups


def test_it_has_no_bias_between_samples_of_one_distribution_in_fixed_proportions() -> None:
    found, errors, plain = [], [], []
    for seed in range(50):
        real, fake = classes_apart(60, 2 * seed), classes_apart(40, 2 * seed + 1)
        value_of, error = kid(Sample.of(*real, SHARES), Sample.of(*fake, SHARES))
        found.append(value_of)
        errors.append(error)
        plain.append(value(real[0], fake[0]))
    values, usual = torch.tensor(found), torch.tensor(plain)
    assert abs(values.mean()) < 2 * values.std() / 50**0.5
    assert usual.mean() < -5 * usual.std() / 50**0.5, "the usual estimator is below 0 for such samples"
    assert 0.8 < torch.tensor(errors).mean() / values.std() < 2


def test_it_has_no_bias_for_independent_draws() -> None:
    values = torch.tensor([value(cloud(30, 2 * s), cloud(20, 2 * s + 1)) for s in range(200)])
    assert abs(values.mean()) < 3 * values.std() / 200**0.5
    assert values.min() < 0 < values.max()


def test_the_order_of_images_and_the_block_size_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    (real, of_real), (fake, of_fake), order = classes_apart(50, 0), classes_apart(40, 1), torch.randperm(40)
    before = kid(Sample.of(real, of_real, SHARES), Sample.of(fake, of_fake, SHARES))
    monkeypatch.setattr(kid_module, "ROWS", 7)
    after = kid(Sample.of(real, of_real, SHARES), Sample.of(fake[order], of_fake[order], SHARES))
    assert before == pytest.approx(after, abs=1e-12)


def test_it_sees_a_shift_and_needs_two_images_of_each_stratum() -> None:
    assert value(cloud(200, 0), cloud(200, 1) + 1) > 1
    with pytest.raises(InputError, match="at least 2 images"):
        value(cloud(5, 0), cloud(1, 1))
    with pytest.raises(InputError, match=r"got \[3, 1\]"):
        Sample.of(cloud(4, 0), torch.tensor([0, 0, 0, 1]))
