"""Errors of Frechet distances cover the truth on Gaussians, and torchmetrics gives the same distances."""

from __future__ import annotations

import pytest
import torch
from distillkit_metrics.spread import standard_error
from distillkit_metrics.statistics import Moments, distance_of, extrapolated, frechet_distance, moments
from torch import Tensor, nn

D = 16


def gaussian(shift: float, scale: float) -> tuple[Moments, Tensor]:
    """A Gaussian in D dimensions and the factor of its covariance."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.eye(D, dtype=torch.float64) + 0.2 * torch.randn(D, D, generator=generator, dtype=torch.float64)
    mean = torch.zeros(D, dtype=torch.float64)
    mean[0] = shift
    return Moments(mean, scale * factor @ factor.T), scale**0.5 * factor


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.1, 1.1), (1.0, 1.3)], ids=["same", "near", "far"])
def test_the_error_covers_the_truth_on_gaussians_with_known_distance(shift: float, scale: float) -> None:
    real, (fake, factor), n = gaussian(0.0, 1.0)[0], gaussian(shift, scale), 300
    truth, generator = frechet_distance(fake, real), torch.Generator().manual_seed(1)
    found, limits = [], []
    for _ in range(150):
        x = torch.randn(n, D, generator=generator, dtype=torch.float64) @ factor.T + fake.mean
        found.append(distance_of(x, real))
        limits.append(extrapolated(x, real, torch.zeros(n, dtype=torch.int64)))
    values, errors = torch.tensor(found).T
    covered = ((values - values.mean()).abs() < 1.96 * errors).double().mean()
    assert 0.92 <= covered <= 1.0 and errors.mean() < 1.7 * values.std()
    at_infinity = torch.tensor(limits)
    assert ((at_infinity - truth).abs() < 1.96 * errors).double().mean() >= 0.92
    assert abs(at_infinity.mean() - truth) < 0.2 * (values.mean() - truth), "most of the bias is gone"


def test_the_influence_is_that_of_leaving_images_out() -> None:
    real, x = gaussian(0.0, 1.0)[0], 1.2 * torch.randn(200, D, generator=torch.Generator().manual_seed(0)).double()
    left_out = torch.tensor([frechet_distance(real, moments(x[torch.arange(200) != i])) for i in range(200)])
    jackknife = float((199 / 200 * (left_out - left_out.mean()).square().sum()).sqrt())
    assert distance_of(x, real) == (
        pytest.approx(frechet_distance(real, moments(x))),
        pytest.approx(jackknife, rel=0.1),
    )


def test_fewer_images_than_dimensions_have_an_error_too() -> None:
    real, x = gaussian(0.0, 1.0)[0], torch.randn(12, D, generator=torch.Generator().manual_seed(0)).double()
    value, error = distance_of(x, real)
    assert value == pytest.approx(frechet_distance(real, moments(x))) and 0.01 * value < error < value


def test_classes_that_lie_apart_widen_no_error_where_their_proportions_are_fixed() -> None:
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(2).repeat_interleave(100)
    x = torch.randn(200, 3, generator=generator, dtype=torch.float64) + 5 * groups[:, None]
    real = moments(torch.randn(500, 3, generator=generator, dtype=torch.float64))
    assert distance_of(x, real, groups)[1] < 0.4 * distance_of(x, real)[1]


def test_the_error_of_a_mean_is_the_usual_one() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    assert standard_error(values) == pytest.approx(float(values.std()) / 50**0.5)
    groups, shares = torch.arange(2).repeat_interleave(25), torch.tensor([0.9, 0.1]).double()
    expected = (0.81 * values[:25].var() / 25 + 0.01 * values[25:].var() / 25).sqrt()
    assert standard_error(values, groups, shares) == pytest.approx(float(expected))


class Same(nn.Module):
    """Features that are the images."""

    num_features = D

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_torchmetrics_has_the_same_frechet_distance() -> None:
    oracle = pytest.importorskip("torchmetrics.image.fid")
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(60, D, generator=generator, dtype=torch.float64) + shift for shift in (0.0, 0.4))
    metric = oracle.FrechetInceptionDistance(feature=Same(), input_img_size=(D, 1, 1)).set_dtype(torch.float64)
    for features, is_real in ((real, True), (fake, False)):
        metric.update(features.view(60, D, 1, 1), real=is_real)
    assert distance_of(fake, moments(real))[0] == pytest.approx(float(metric.compute()), abs=1e-6)
