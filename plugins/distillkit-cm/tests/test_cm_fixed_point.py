"""CD's and CT's fixed point is the data's distribution: of one Gaussian in closed form, of a mixture by its exact flow.

For data N(M, S^2) the trajectory through x at sigma ends, at sigma = e, in f(x; sigma) = M + g (x - M) with
g^2 = (S^2 + e^2) / (S^2 + sigma^2). Expectations over it are integrated exactly, by Gauss-Hermite quadrature.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_cm.cd import Cd
from distillkit_cm.ct import Ct
from distillkit_cm.pair import Pair
from torch import Tensor

from distillkit.builtin.few_step import FewStep
from distillkit.builtin.mixture import MixtureConfig, MixtureTeacher
from distillkit.noise import RHO, SIGMA_MIN, rho_grid

M, S = 0.3, 0.5
MIXTURE = MixtureConfig()


class Flow:
    """M + g^theta (x - M): the exact map for theta = 1, and the identity at sigma = e for any."""

    def __init__(self, theta: float = 1.0) -> None:
        self.theta = torch.tensor(theta, dtype=torch.float64, requires_grad=True)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        g = ((S**2 + SIGMA_MIN**2) / (S**2 + sigma**2)).sqrt()
        return M + g**self.theta * (x - M)


def denoiser(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
    return (S**2 * x + sigma**2 * M) / (S**2 + sigma**2)


class Step:
    """Given images and noise, at every place i of the grid in turn."""

    labels = None

    def __init__(self, real: Tensor, noise: Tensor, i: Tensor, N: int) -> None:
        self.real, self.noise, self.u = real, noise, (i.view(-1, 1, 1, 1) + 0.5) / (N - 1)

    def rand(self, *shape: int) -> Tensor:
        return self.u.double()

    def randn_like(self, x: Tensor) -> Tensor:
        return self.noise


def drift(cls: type[Pair], theta: float, N: int) -> float:
    """d E L / d theta: where gradient descent takes theta."""
    at, weight = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(4))
    i, z, n = (
        a.reshape(-1, 1, 1, 1) for a in torch.meshgrid(torch.arange(N - 1, dtype=at.dtype), at, at, indexing="ij")
    )
    weight = torch.outer(weight, weight).flatten().repeat(N - 1) / (weight.sum() ** 2 * (N - 1))
    loss, flow = cls(cls.Config()), Flow(theta)
    loss.schedule = lambda state: (N, 0.0)
    step = Step(M + S * z, n, i.flatten(), N)
    expected = (weight * loss.generator_loss(SimpleNamespace(generator=flow), step, denoiser)).sum()
    return float(torch.autograd.grad(expected, flow.theta)[0])


@pytest.mark.parametrize(("cls", "order"), [(Cd, 3), (Ct, 2)])
def test_the_exact_map_is_left_alone_up_to_an_error_that_falls_with_the_grid(cls: type[Pair], order: int) -> None:
    """As the error of one step: of Heun's method for CD, of Euler's for CT. What pulls a wrong map falls as 1 / N."""
    coarse, fine = (abs(drift(cls, 1.0, N)) for N in (80, 160))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)
    assert fine < 0.02 * abs(drift(cls, 1.1, 160))


@pytest.mark.parametrize("cls", [Cd, Ct])
@pytest.mark.parametrize("error", [-0.1, 0.1])
def test_another_map_is_pulled_back_to_it(cls: type[Pair], error: float) -> None:
    assert error * drift(cls, 1 + error, 40) > 0


def test_one_step_from_the_noise_gives_the_datas_mean_and_variance() -> None:
    """But for what N(0, 80^2) is not N(M, 80^2 + S^2): M g of the mean, S^2 / (2 80^2) of the deviation."""
    at, weight = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(4))
    sampler = FewStep(FewStep.Config(clamp=False))
    x = sampler.sample(SimpleNamespace(generator=Flow(), seed=0), at.view(-1, 1, 1, 1), None).flatten().detach()
    mean = float((weight * x).sum() / weight.sum())
    std = float((weight * (x - mean) ** 2).sum() / weight.sum()) ** 0.5
    assert mean == pytest.approx(M, abs=1.01 * M * S / 80)
    assert std == pytest.approx(S, rel=1e-4)


def exact(x: Tensor, sigma: Tensor, labels: Tensor | None = None, steps: int = 96) -> Tensor:
    """The trajectory of the mixture's flow through x at sigma, down to sigma = e, by Heun's method on a rho-grid."""

    def slope(x: Tensor, t: Tensor) -> Tensor:
        return (x - MixtureTeacher(MIXTURE).teacher_score(None, x, t, None)) / t

    for k in range(steps):
        t, r = (
            (sigma ** (1 / RHO) * (1 - u) + SIGMA_MIN ** (1 / RHO) * u) ** RHO for u in (k / steps, (k + 1) / steps)
        )
        d = slope(x, t)
        x = x + (r - t) * (d + slope(x + (r - t) * d, r)) / 2
    return x


def teacher(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
    return MixtureTeacher(MIXTURE).teacher_score(None, x, sigma, labels)


def test_the_exact_flow_of_the_mixture_is_a_fixed_point() -> None:
    """The loss at it is Heun's error squared: N from 20 to 80 divides it by much more than 4^4, and little is left."""

    def loss(N: int) -> float:
        generator = torch.Generator().manual_seed(0)
        i = torch.arange(256) % (N - 1)
        z, n = (torch.randn(256, 2, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
        y = MIXTURE.means(z)[torch.randint(8, (256,), generator=generator)].view_as(z) + MIXTURE.std * z
        part = Cd(Cd.Config(N=N))
        found = part.generator_loss(SimpleNamespace(generator=lambda *given: exact(*given)), Step(y, n, i, N), teacher)
        return float(found.mean())

    coarse, fine = loss(20), loss(80)
    assert fine < coarse / 4**4 and fine < 1e-6


def test_one_step_of_it_gives_the_mixtures_weights_mean_and_covariance() -> None:
    """Within four standard errors of 4,096 samples, and what 80 z is not a noisy mixture."""
    n = 4096
    z = torch.randn(n, 2, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = FewStep(FewStep.Config(clamp=False)).sample(SimpleNamespace(generator=exact, seed=0), z, None).flatten(1)
    distance, nearest = torch.cdist(x, MIXTURE.means(x)).min(1)
    assert (distance < 4 * MIXTURE.std).double().mean() > 0.998
    weights = torch.bincount(nearest, minlength=8) / n
    assert (weights - 1 / 8).abs().max() < 4 * (7 / 64 / n) ** 0.5
    variance = MIXTURE.radius**2 / 2 + MIXTURE.std**2
    assert x.mean(0).abs().max() < 4 * (variance / n) ** 0.5
    assert (x.T.cov() - variance * torch.eye(2)).abs().max() < 4 * variance * (2 / n) ** 0.5


def test_the_grid_ends_where_the_map_is_the_identity() -> None:
    assert float(rho_grid(torch.tensor(1.0, dtype=torch.float64))) == pytest.approx(SIGMA_MIN, rel=1e-12)
    x = torch.randn(4, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Flow(1.3)(x, torch.tensor(SIGMA_MIN, dtype=torch.float64)), x)
