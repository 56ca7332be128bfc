"""SiD's fixed point is the data's distribution: nothing pulls there, and elsewhere the pull leads back to it.

The teacher and the fake score are exact: posterior means in closed form. Data N(M, S^2) and generator x = m + s z are
integrated exactly, by Gauss-Hermite quadrature over z and n; of mixtures samples are drawn.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_sid.sid import Sid
from distillkit_sid.sida import Sida
from torch import Tensor

from distillkit.builtin.mixture import MixtureConfig, MixtureTeacher
from distillkit.testing import lognormal_draw, replayed, toy_state
from distillkit.train.state import State
from distillkit.train.step import Step

M, S = 0.3, 0.5
SIGMAS = (0.05, 0.5, 3.0)
UNIT: dict[str, Any] = {
    "noise": "lognormal",
    "lsg": 1e6,
    "w_min": 1e6,
}  # w of Eq. (3) is its bound, and L_theta as if both were 1


@pytest.fixture(scope="module")
def state() -> State:
    """Of images of one value, after all gates."""
    state = toy_state(run={"precision": "fp64"}, dataset={"resolution": 1, "channels": 1, "label_dim": 0})
    state.nimg = 10**9
    return state


def step(state: State, x: Tensor, sigma: Tensor, n: Tensor, of: str = "generator") -> Step:
    """Rows with the noise that they are given, of the generator's loss or of the fake score's; x are the data too."""
    P_mean, P_std = {"generator": (-0.6, 1.4), "fake_score": (-1.2, 1.2)}[of]
    return replayed(state, [lognormal_draw(sigma, P_mean, P_std), n], x, x)


class Denoiser:
    """E[y | x] of y ~ N(m, s^2), as A x + B; with an adversary that cannot tell: logits of zero everywhere."""

    sigma_min, sigma_max = 0.0, math.inf

    def __init__(self, m: Any, s: Any) -> None:
        self.m, self.s, self.shift = m, s, torch.zeros((), dtype=torch.float64)

    def __call__(self, x: Tensor, sigma: Any, labels: Any = None, augment_labels: Any = None) -> Tensor:
        A = self.s**2 / (self.s**2 + sigma**2)
        D: Tensor = A * x + (1 - A) * self.m
        return D

    def encoder(self, x: Tensor, sigma: Any, labels: Any = None, augment_labels: Any = None) -> Tensor:
        return 0 * x + self.shift

    def encoder_decoder(
        self, x: Tensor, sigma: Any, labels: Any = None, augment_labels: Any = None
    ) -> tuple[Tensor, Tensor]:
        return self(x, sigma), self.encoder(x, sigma)


def method(cls: type[Sid], fake: Any, **keys: Any) -> Any:
    loss = cls(cls.Config(**UNIT, **keys))
    loss.fake_score, loss.augment = fake, None
    return loss


def quadrature() -> tuple[Tensor, Tensor, Tensor]:
    """z, n [144,1,1,1] and weights [144]: exact for polynomials of a degree up to 23 in each."""
    at, weight = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(12))
    weight = weight / weight.sum()
    z, n = (a.reshape(-1, 1, 1, 1) for a in torch.meshgrid(at, at, indexing="ij"))
    return z, n, torch.outer(weight, weight).flatten()


def pull(state: State, cls: type[Sid], m: Any, s: Any, sigma: float, **keys: Any) -> tuple[float, float, float]:
    """Expected L_theta, and its gradients in m and s of x = m + s z, of which the fake score is exact."""
    z, n, weight = quadrature()
    m, s = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (m, s))
    loss = method(cls, Denoiser(m.detach(), s.detach()), **keys)
    rows = step(state, m + s * z, torch.full_like(z, sigma), n)
    expected = (weight * loss.generator_loss(state, rows, Denoiser(M, S))).sum()
    at_m, at_s = (float(grad) for grad in torch.autograd.grad(expected, (m, s)))
    return float(expected.detach()), at_m, at_s


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_shifted_generator_is_pulled_back_as_the_closed_form_says(state: State, sigma: float, alpha: float) -> None:
    for delta in (-0.2, -0.01, 0.01, 0.2):
        _, at_m, at_s = pull(state, Sid, M + delta, S, sigma, alpha=alpha)
        assert at_m == pytest.approx(delta * (sigma**2 / (S**2 + sigma**2)) ** 2, rel=1e-9)
        assert at_s == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_generator_of_another_width_is_pulled_back_as_the_closed_form_says(
    state: State, sigma: float, alpha: float
) -> None:
    for s in (0.4, 0.49, 0.51, 0.6):
        _, at_m, at_s = pull(state, Sid, M, s, sigma, alpha=alpha)
        a, b = (v**2 / (v**2 + sigma**2) for v in (S, s))
        assert at_s == pytest.approx(2 * s * (a - b) * ((a - 1) - alpha * (a - b)), rel=1e-9)
        assert at_m == pytest.approx(0, abs=1e-12)
        assert at_s * (s - S) > 0 or alpha > 1


@pytest.mark.parametrize("sigma", SIGMAS)
def test_sim_pulls_back_as_the_closed_form_says(state: State, sigma: float) -> None:
    """As SiD with alpha = 1 in the mean and half of that in the width; "huber" divides by the gap's size and c."""
    for delta in (-0.2, 0.01):
        l2, huber = (pull(state, Sid, M + delta, S, sigma, alpha=1.0, distance=d, c=0.1)[1:] for d in ("l2", "huber"))
        away = sigma**2 / (S**2 + sigma**2)
        assert l2 == pytest.approx((delta * away**2, 0), rel=1e-9, abs=1e-12)
        assert huber == pytest.approx((delta * away**2 / math.hypot(delta * away, 0.1), 0), rel=1e-9, abs=1e-12)
    for s in (0.4, 0.6):
        a, b = (v**2 / (v**2 + sigma**2) for v in (S, s))
        assert pull(state, Sid, M, s, sigma, alpha=1.0, distance="l2")[1:] == pytest.approx(
            (0, s * (a - b) * (b - 1)), rel=1e-9, abs=1e-12
        )


@pytest.mark.parametrize("cls", [Sid, Sida])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_nothing_pulls_where_the_images_are_the_data(state: State, cls: type[Sid], sigma: float) -> None:
    assert pull(state, cls, M, S, sigma)[1:] == pytest.approx((0, 0), abs=1e-12)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_expected_loss_is_the_fisher_divergence_times_one_minus_alpha(state: State, sigma: float) -> None:
    """E D_fake (x_sigma)^T x = E |D_fake|^2 for the exact fake score: the identity that SiD is named for."""
    m, s = 0.1, 0.8
    (fisher, *_), (found, *_) = (pull(state, Sid, m, s, sigma, alpha=alpha) for alpha in (0.0, 1.2))
    a, b = (v**2 / (v**2 + sigma**2) for v in (S, s))
    gap = (1 - a) * M + a * m - m  # of the means; x_sigma has mean m
    assert fisher == pytest.approx(gap**2 + (a - b) ** 2 * (s**2 + sigma**2), rel=1e-9)
    assert found == pytest.approx((1 - 1.2) * fisher, rel=1e-9)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_fake_score_comes_to_rest_at_the_exact_one(state: State, sigma: float) -> None:
    z, n, weight = quadrature()
    for error in (-0.1, 0.0, 0.1):
        m, s = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (0.1 + error, 0.8 + error))
        rows = step(state, 0.1 + 0.8 * z, torch.full_like(z, sigma), n, "fake_score")
        grads = torch.autograd.grad((weight * method(Sid, Denoiser(m, s)).critic_loss(rows)).sum(), (m, s))
        assert [float(grad.sign()) if error else float(grad) for grad in grads] == pytest.approx(
            [float(np.sign(error))] * 2, abs=1e-12
        )


def test_an_adversary_that_cannot_tell_adds_nothing_and_comes_to_rest_at_the_data(state: State) -> None:
    for m, s in ((0.5, 0.5), (0.3, 0.7)):
        half, whole = (pull(state, cls, m, s, 0.5, alpha=1.0)[1:] for cls in (Sida, Sid))
        assert half == pytest.approx([value / 2 for value in whole], rel=1e-9)
    z, n, _ = quadrature()
    fake = Denoiser(M, S)
    fake.shift.requires_grad_()
    rows = step(state, M + S * z, torch.full_like(z, 0.5), n, "fake_score")
    loss = method(Sida, fake).critic_loss(state, rows).mean()
    assert float(torch.autograd.grad(loss, fake.shift)[0]) == pytest.approx(0, abs=1e-12)


def mixture_pull(radius: float, std: float, n: int = 40_000) -> tuple[Tensor, Tensor]:
    """Gradients of L_theta in a mixture's radius and std, each with its standard error [2,2]; eight parts of n / 8."""
    state = toy_state(run={"precision": "fp64"}, dataset={"use": "gaussian-mixture"})
    generator, parts = torch.Generator().manual_seed(0), []
    r, s = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (radius, std))
    real, fake = MixtureTeacher(MixtureConfig()), MixtureTeacher(MixtureConfig(radius=radius, std=std))
    loss = method(Sid, lambda x, sigma, labels=None: fake.teacher_score(state, x, sigma, labels), alpha=1.0)
    for _ in range(8):
        z, noise = (torch.randn(n // 8, 2, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
        sigma = (-0.6 + 1.4 * torch.randn(n // 8, 1, 1, 1, generator=generator, dtype=torch.float64)).exp()
        corners = MixtureConfig(radius=1.0).means(z)[torch.arange(n // 8) % 8].view_as(z)
        rows = step(state, r * corners + s * z, sigma, noise)
        value = loss.generator_loss(state, rows, lambda x, t, labels: real.teacher_score(state, x, t, labels)).mean()
        parts.append(torch.stack(torch.autograd.grad(value, (r, s))))
    found = torch.stack(parts)
    return found.mean(0), found.std(0) / 8**0.5


def test_a_mixture_too_wide_or_too_narrow_is_pulled_back_and_the_data_is_left_alone() -> None:
    assert mixture_pull(0.7, 0.07)[0].abs().max() < 1e-12
    for radius, sign in ((0.6, -1), (0.8, 1)):
        grad, error = mixture_pull(radius, 0.07)
        assert sign * grad[0] > 5 * error[0]
    for std, sign in ((0.05, -1), (0.1, 1)):
        grad, error = mixture_pull(0.7, std)
        assert sign * grad[1] > 5 * error[1]
