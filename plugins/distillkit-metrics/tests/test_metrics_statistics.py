"""Moments and the Frechet distance: closed forms, the published codes' numbers, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from distillkit_metrics.statistics import Moments, frechet_distance, moments, principal_axes

from distillkit.api import InputError


def gaussian(mean: list[float], variance: list[float]) -> Moments:
    return Moments(torch.tensor(mean).double(), torch.diag(torch.tensor(variance).double()))


def test_distance_of_diagonal_gaussians_by_hand() -> None:
    a, b = gaussian([0, 0], [1, 4]), gaussian([3, 4], [9, 16])
    assert frechet_distance(a, b) == pytest.approx(25 + (1 - 3) ** 2 + (2 - 4) ** 2, abs=1e-12)


def test_distance_of_covariances_that_do_not_commute_by_hand() -> None:
    a = Moments(torch.zeros(2).double(), torch.tensor([[2.0, 0.0], [0.0, 1.0]]).double())
    b = Moments(torch.zeros(2).double(), torch.tensor([[1.0, 1.0], [1.0, 2.0]]).double())
    # 2x2: tr sqrt(AB) = sqrt(tr(AB) + 2 sqrt(det(AB))) = sqrt(4 + 2 sqrt(2))
    assert frechet_distance(a, b) == pytest.approx(3 + 3 - 2 * (4 + 2 * 2**0.5) ** 0.5, abs=1e-12)


def test_singular_covariances_are_fine_and_the_distance_is_symmetric() -> None:
    a, b = gaussian([0, 0, 0], [1, 0, 0]), gaussian([0, 0, 0], [0, 1, 0])
    assert frechet_distance(a, b) == pytest.approx(2, abs=1e-12) == frechet_distance(b, a)
    few = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))  # rank 4 in 20 dimensions
    assert frechet_distance(moments(few), moments(few)) == pytest.approx(0, abs=1e-6)


def test_fid_is_that_of_the_edm_code(reference: dict[str, np.ndarray]) -> None:
    gen, real = (torch.from_numpy(reference[name]) for name in ("gen_features", "real_features"))
    found = moments(gen)
    torch.testing.assert_close(found.mean, torch.from_numpy(reference["edm_mu_gen"]), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.cov, torch.from_numpy(reference["edm_sigma_gen"]), rtol=1e-6, atol=1e-7)
    assert frechet_distance(found, moments(real)) == pytest.approx(float(reference["edm_fid"]), rel=1e-6)


def test_fid_is_that_of_the_stylegan_code_which_divides_by_n(reference: dict[str, np.ndarray]) -> None:
    gen, real = (torch.from_numpy(reference[name]) for name in ("gen_features", "real_features"))
    found = moments(gen, ddof=0)
    torch.testing.assert_close(found.cov, torch.from_numpy(reference["stylegan_sigma_gen"]), rtol=1e-6, atol=1e-7)
    expected = float(reference["stylegan_fid"])
    assert frechet_distance(found, moments(real, ddof=0)) == pytest.approx(expected, rel=1e-6)


def test_non_finite_features_are_counted_and_refused() -> None:
    features = torch.zeros(10, 3)
    features[2, 1], features[2, 2], features[7, 0] = torch.nan, torch.inf, -torch.inf
    with pytest.raises(InputError, match="2 of 10 images"):
        moments(features)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(InputError, match="more than 1 images; got 1"):
        moments(torch.zeros(1, 3))


def test_principal_axes_are_the_directions_of_largest_variance() -> None:
    spread = torch.tensor([1.0, 5.0, 0.1, 3.0])
    features = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)) * spread
    axes = principal_axes(features, 2)
    assert axes.shape == (4, 2)
    assert axes.abs().argmax(0).tolist() == [1, 3]
    torch.testing.assert_close(axes.T @ axes, torch.eye(2).double())
