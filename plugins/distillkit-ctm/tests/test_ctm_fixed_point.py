"""The flow map of a Gaussian in closed form is where CTM ends: no loss is left at it, and other maps are pulled to it.

For data N(M, S^2) the flow takes x from t to s to G(x, t, s) = M + g (x - M) with g^2 = (S^2 + s^2) / (S^2 + t^2).
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from distillkit_ctm.ctm import Ctm, G
from distillkit_ctm.draw import Draw
from torch import Tensor

from distillkit.builtin.flow_map import FlowMap

M, S = 0.3, 0.5
F64: Any = {"dtype": torch.float64}


class Flow:
    """M + g^theta (x - M), as a denoiser of Eq. (a): the exact map for theta = 1."""

    sigma_min, sigma_max, second_time = 0.0, math.inf, True

    def __init__(self, theta: float = 1.0) -> None:
        self.theta = torch.tensor(theta, requires_grad=True, **F64)

    def __call__(self, x: Tensor, t: Tensor, labels: Any = None, *, r: Tensor | float | None = None) -> Tensor:
        r = torch.as_tensor(t if r is None else r, **F64)
        jumped = M + ((S**2 + r**2) / (S**2 + t**2)) ** (self.theta / 2) * (x - M)
        at_t = x - self.theta * t**2 / (S**2 + t**2) * (x - M)  # the limit r -> t
        return torch.where(r < t, (jumped - r / t * x) / (1 - r / t).clamp(min=1e-300), at_t)


def denoiser(x: Tensor, sigma: Tensor, labels: Any = None) -> Tensor:
    return (S**2 * x + sigma**2 * M) / (S**2 + sigma**2)


def every_draw(loss: Ctm, h: int) -> Draw:
    """Each i and j of the grid that h allows, for each of some images."""
    last, c = loss.config.N - 1, loss.config
    pairs = [(i, j) for i in range(last - h + 1) for j in range(i + h, last + 1)] * 4
    i, j = torch.tensor(pairs, **F64).T.view(2, -1, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    y, n = (torch.randn(len(i), 1, 1, 1, generator=generator, **F64) for _ in range(2))
    t, u, s = c.grid(i), c.grid(i + h), c.grid(j)
    return Draw(M + S * y + t * n, t, u, s, i, h)


def misfit(flow: Flow, N: int, h: int, **keys: Any) -> Tensor:
    loss = Ctm(Ctm.Config(N=N, h=h, **keys))
    loss.target, loss.phi = Flow(1.0), None  # type: ignore[assignment]
    return loss.consistency(flow, SimpleNamespace(labels=None), every_draw(loss, h), denoiser)  # type: ignore[arg-type]


@pytest.mark.parametrize("h", [1, 5])
def test_the_exact_flow_map_is_consistent_with_itself(h: int) -> None:
    assert misfit(Flow(), 8, h, solver="self").abs().max() < 1e-24


def test_the_exact_flow_map_leaves_no_loss_but_the_error_of_heuns_steps() -> None:
    """Of second order along a way, squared in the distance."""
    coarse, fine = (float(misfit(Flow(), N, N // 2).detach().max()) for N in (40, 80))
    assert fine < 1e-4 and math.log2(coarse / fine) == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize("theta", [0.9, 1.1])
@pytest.mark.parametrize("keys", [{}, {"outer": "student"}, {"weight": "jump"}, {"s": "smallest"}])
def test_another_map_is_pulled_to_it(theta: float, keys: dict[str, Any]) -> None:
    flow = Flow(theta)
    (grad,) = torch.autograd.grad(misfit(flow, 40, 10, **keys).mean(), flow.theta)
    assert grad * (theta - 1) > 0
    exact = Flow()
    (left,) = torch.autograd.grad(misfit(exact, 40, 10, **keys).mean(), exact.theta)
    assert left.abs() < 0.05 * grad.abs()


def test_denoising_asks_the_map_where_it_goes_nowhere_and_is_least_at_the_exact_one() -> None:
    """dE L_DSM / dtheta = 0 at theta = 1: signs of y and n, each with each, have the moments that E is of."""
    flow, loss = Flow(), Ctm(Ctm.Config())
    signs = torch.tensor([(a, b) for a in (1, -1) for b in (1, -1)] * 8, **F64).T.view(2, -1, 1, 1, 1)
    sigmas = torch.linspace(-1.5, 1.5, 8, **F64).repeat_interleave(4).view(-1, 1, 1, 1)

    class Step:
        """Levels of each kind in one half, and values whose first two moments are those of unit normals."""

        first, n, batch, labels, real = 0, 32, 32, None, M + S * signs[0]

        def lognormal_sigma(self, mean: float, std: float) -> Tensor:
            return (mean + std * sigmas).exp()

        def rand(self, *shape: int) -> Tensor:
            return (sigmas + 1.5) / 3

        def randn_like(self, x: Tensor) -> Tensor:
            return signs[1]

    state, step = (cast(Any, one) for one in (SimpleNamespace(batch=32, micro_batch=32), Step()))
    (grad,) = torch.autograd.grad(loss.denoising(flow, state, step).mean(), flow.theta)
    assert grad.abs() < 1e-12
    for theta in (0.9, 1.1):
        wrong = Flow(theta)
        (grad,) = torch.autograd.grad(loss.denoising(wrong, state, step).mean(), wrong.theta)
        assert grad * (theta - 1) > 0.01


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_any_number_of_jumps_gives_the_datas_mean_and_deviation(steps: int) -> None:
    sampler = FlowMap(FlowMap.Config(steps=steps))
    z = torch.tensor([-1.0, 0.0, 1.0], **F64).view(-1, 1, 1, 1)
    x = sampler.sample(SimpleNamespace(generator=Flow(), seed=0), z, None).flatten().detach()  # type: ignore[arg-type]
    assert (x[2] - x[0]) / 2 == pytest.approx(S, rel=1e-4) and x[1] == pytest.approx(M, abs=1.01 * M * S / 80)


def test_jumps_compose_and_end_where_they_are_asked_to() -> None:
    x = torch.randn(4, 1, 1, 1, generator=torch.Generator().manual_seed(0), **F64)
    t, u, s = (torch.full((4, 1, 1, 1), sigma, **F64) for sigma in (7.0, 2.0, 0.1))
    torch.testing.assert_close(G(Flow(), G(Flow(), x, t, u, None), u, s, None), G(Flow(), x, t, s, None))
    assert torch.equal(G(Flow(1.7), x, t, t, None), x)
