"""Where IMM stands still, on data whose flow map is known: one point, and a Gaussian of single pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_imm.imm import Imm
from distillkit_imm.times import c_out, earlier, weight
from torch import Tensor, nn

from distillkit.testing import replayed, toy_state
from distillkit.train.state import State

SD, M = 0.5, 4


class Gaussian(nn.Module):
    """The flow map of data N(0, c^2), whose image at rho is x = kappa z; theta: a factor of x that should be 1."""

    sigma_min, sigma_max, augment_dim, second_time = 0.0, math.inf, 0, True

    def __init__(self, c: float, theta: float = 1.0) -> None:
        super().__init__()
        self.c, self.theta = c, nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, z: Tensor, sigma: Tensor, labels: Any = None, augmented: Any = None, *, r: Any = None) -> Tensor:
        kappa = ((self.c**2 + r**2) / (self.c**2 + sigma**2)).sqrt()
        x = torch.where(sigma > r, self.theta * kappa * z, z)
        return (x - r / sigma * z) / (1 - r / sigma).clamp(min=1e-12)


def state_of(**keys: Any) -> State:
    return toy_state(
        run={"precision": "fp64", "batch": 8}, dataset={"resolution": 1, "channels": 1, "label_dim": 0},
        generator={"init": "scratch", "network": {"use": "mlp", "width": 4, "depth": 1}},
        generator_loss={"use": "imm", "M": M, **keys},
    )  # fmt: skip


def loss_of(net: nn.Module, y: Tensor, t: float, s: float, **keys: Any) -> Tensor:
    """The loss [N] at images y where all groups have these times."""
    state = state_of(**keys)
    loss: Imm = state.components["generator_loss"]  # type: ignore[assignment]
    state.generator = net  # type: ignore[assignment]
    low, high = loss.times
    rows = [
        torch.full((len(y), 1, 1, 1), u, dtype=torch.float64) for u in ((t - low) / (high - low), (s - low) / (t - low))
    ]
    n = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return loss.generator_loss(state, replayed(state, [*rows, n], real=y))


def test_at_a_single_point_the_true_map_has_no_loss_and_no_gradient() -> None:
    """Both groups are then the same images."""
    net = Gaussian(1e-9)
    y = torch.zeros(8, 1, 1, 1, dtype=torch.float64)
    value = loss_of(net, y, 0.6, 0.2, k=6.0)
    value.sum().backward()
    assert float(value.detach().abs().max()) < 1e-7 and abs(float(net.theta.grad)) < 1e-6  # type: ignore[arg-type]
    assert float(loss_of(Gaussian(1e-9, 1.2), y, 0.6, 0.2, k=6.0).detach().min()) > 1e-3


@pytest.mark.parametrize(("t", "s", "k"), [(0.7, 0.3, 7.0), (0.4, 0.05, 7.0)])
def test_at_a_gaussian_the_true_map_keeps_the_pairs_share_alone(t: float, s: float, k: float) -> None:
    """f_t and f_r are one Gaussian, so that in the mean all is gone but what a pair of one y and n is apart, u.

    The loss is 2 w / M (1 - E exp(-|u| / h)), its gradient at a factor of f_t is w / M E |u| / h exp(-|u| / h): both go
    to 0 with t - r. In the second case r = s, and f_r is data.
    """
    c, at = 0.8, torch.tensor([t, s], dtype=torch.float64)
    r = float(earlier(*at, k, 0.0))
    sigma, sigma_r, rho = (SD * one / (1 - one) for one in (t, r, s))
    moved = [math.sqrt((c**2 + rho**2) / (c**2 + one**2)) for one in (sigma, sigma_r)]
    apart = 2 * (c**2 + rho**2 - moved[0] * moved[1] * (c**2 + sigma * sigma_r))  # variance of u / (1 - s)
    far = (1 - s) * math.sqrt(apart) * np.abs(np.random.default_rng(0).standard_normal(10**6))
    far /= float(c_out(*at, SD, "simple-edm"))
    w = float(weight(at[0], 1.0, 5.0))
    y = c * torch.randn(2**15, 1, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, slope = value_and_slope(Gaussian(c), y, t, s, k)
    assert found == pytest.approx(2 * w / M * (1 - np.exp(-far).mean()), rel=0.01)
    assert slope == pytest.approx(w / M * (far * np.exp(-far)).mean(), rel=0.1)
    larger, push = value_and_slope(Gaussian(c, 1.1), y, t, s, k)
    assert larger > 1.02 * found and (r > s or push > 2 * slope)  # with r > s f_r has the same factor


def value_and_slope(net: Gaussian, y: Tensor, t: float, s: float, k: float) -> tuple[float, float]:
    """The mean loss and its gradient at theta."""
    value = loss_of(net, y, t, s, k=k).mean()
    return float(value.detach()), float(torch.autograd.grad(value, net.theta)[0])
