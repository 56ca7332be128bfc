"""Each kernel against its formula, and the squared MMD it makes."""

from __future__ import annotations

import math

import pytest
import torch
from distillkit_kernels.kernels import Energy, Imq, Laplace, Linear, Rbf
from torch import Tensor

from distillkit.api import Kernel
from distillkit.mmd import bandwidth2, mmd2

EACH: list[Kernel] = [cls(cls.Config()) for cls in (Rbf, Laplace, Imq, Energy, Linear)]
each = pytest.mark.parametrize("kernel", EACH, ids=lambda kernel: type(kernel).__name__)
radial = pytest.mark.parametrize("kernel", EACH[:4], ids=lambda kernel: type(kernel).__name__)


def rows(n: int, seed: int) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@each
def test_the_second_value_is_the_derivative_of_the_first(kernel: Kernel) -> None:
    r, h = torch.linspace(0.1, 9, 40, dtype=torch.float64), 1e-5
    (above, _), (below, _) = kernel.profile(r + h), kernel.profile(r - h)
    torch.testing.assert_close(kernel.profile(r.clone())[1], (above - below) / (2 * h), rtol=1e-7, atol=1e-9)


@radial
def test_at_distance_zero_everything_is_finite(kernel: Kernel) -> None:
    k, dk = kernel.profile(torch.zeros(2, dtype=torch.float64))
    assert k[0] == (0 if isinstance(kernel, Energy) else 1)
    assert dk.isfinite().all()


@pytest.mark.parametrize("scales", [(0.25, 0.5, 1.0, 2.0, 4.0), (3.0, 0.7), (1.0,), (1.0, 1.0)])
def test_rbf_is_the_mean_of_exponentials_whether_or_not_squares_give_them(scales: tuple[float, ...]) -> None:
    r = torch.linspace(0, 30, 50, dtype=torch.float64)
    expected = torch.stack([(-r / m).exp() for m in scales]).mean(0)
    torch.testing.assert_close(Rbf(Rbf.Config(scales=scales)).profile(r)[0], expected, rtol=1e-12, atol=0)


def test_hand_worked_values() -> None:
    def k(kernel: Kernel, r: float) -> float:
        return kernel.profile(torch.tensor([r], dtype=torch.float64))[0].item()

    assert k(Laplace(Laplace.Config(scale=2.0)), 4.0) == pytest.approx(math.exp(-1))
    assert k(Imq(Imq.Config(scale=2.0)), 6.0) == pytest.approx(0.5)
    assert k(Energy(Energy.Config()), 9.0) == -3
    assert k(Linear(Linear.Config()), 5.0) == 5


WRONG = [(Rbf, {"scales": ()}), (Rbf, {"scales": (1.0, 0.0)}), (Imq, {"scale": -1.0})]


@pytest.mark.parametrize(("cls", "keys"), WRONG)
def test_bandwidth_factors_must_be_positive(cls: type[Kernel], keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="scale"):
        cls.Config(**keys)


def test_linear_is_the_squared_difference_of_means() -> None:
    fake, real = rows(6, 1), rows(9, 2) + 1
    expected = (fake.mean(0) - real.mean(0)).square().sum() / 2
    torch.testing.assert_close(mmd2(fake, real, EACH[4], 2.0, biased=True, tile=4), expected, rtol=1e-12, atol=1e-14)


def test_energy_is_the_energy_distance() -> None:
    fake, real = rows(6, 1), rows(9, 2)
    expected = 2 * torch.cdist(fake, real).mean() - torch.pdist(fake).mean() - torch.pdist(real).mean()
    torch.testing.assert_close(mmd2(fake, real, EACH[3], 1.0), expected)


@each
@pytest.mark.parametrize("biased", [False, True])
def test_the_gradient_is_right(kernel: Kernel, biased: bool) -> None:
    fake, real = rows(5, 1).requires_grad_(), rows(6, 2)
    assert torch.autograd.gradcheck(lambda a: mmd2(a, real, kernel, 1.3, biased=biased, tile=3), (fake,))


@each
def test_the_biased_value_of_a_sample_against_itself_is_zero_and_otherwise_positive(kernel: Kernel) -> None:
    fake = rows(8, 1)
    assert mmd2(fake, fake, kernel, 1.0, biased=True).item() == pytest.approx(0, abs=1e-12)
    assert mmd2(fake, rows(8, 2) + 0.5, kernel, 1.0, biased=True) > 0


@each
def test_descent_brings_a_shifted_sample_back(kernel: Kernel) -> None:
    real, fake = rows(40, 1), (rows(30, 2) + 2).requires_grad_()
    s2 = bandwidth2(fake, real)
    for _ in range(200):
        (grad,) = torch.autograd.grad(mmd2(fake, real, kernel, s2), fake)
        fake = (fake - 30 * grad).detach().requires_grad_()
    assert (fake.mean(0) - real.mean(0)).norm() < 0.4
