"""The Heun sampler against a denoiser whose flow is known in closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from distillkit.builtin.heun import Heun, heun
from distillkit.builtin.levels import levels, own_noise

S = 0.5  # standard deviation of the data


class Gaussian(nn.Module):
    """The exact denoiser of N(0, S^2) data: its flow is x(t) = x(T) sqrt((S^2 + t^2) / (S^2 + T^2))."""

    sigma_min, sigma_max = 0.0, math.inf

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[float, torch.dtype]] = []

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls.append((float(sigma), x.dtype))
        return x * S**2 / (S**2 + sigma**2)


def z_rows(n: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 3, 2, 2, generator=torch.Generator().manual_seed(0)).to(dtype)


def error(steps: int) -> float:
    z = z_rows()
    exact = z * 80 * S / math.sqrt(S**2 + 80**2)
    return float((heun(Gaussian(), z, None, Heun.Config(steps=steps)) - exact).abs().max())


def test_heun_converges_at_second_order() -> None:
    assert error(40) < 0.02
    assert 3.5 < error(80) / error(160) < 4.6


def test_the_schedule_runs_from_sigma_max_to_zero_within_the_networks_range() -> None:
    net = Gaussian()
    t = levels(net, Heun.Config(steps=5))
    assert t[0] == pytest.approx(80) and t[4] == pytest.approx(0.002) and t[5] == 0
    net.sigma_min, net.sigma_max = 0.01, 10.0
    t = levels(net, Heun.Config(steps=5))
    assert t[0] == pytest.approx(10) and t[4] == pytest.approx(0.01)


@pytest.mark.parametrize("steps", [1, 2, 18])
def test_nfe_is_the_number_of_network_calls(steps: int) -> None:
    net, component = Gaussian(), Heun(Heun.Config(steps=steps))
    heun(net, z_rows(), None, component.config)
    assert len(net.calls) == component.nfe == 2 * steps - 1


def test_one_step_is_the_denoised_noise() -> None:
    z = z_rows()
    torch.testing.assert_close(heun(Gaussian(), z, None, Heun.Config(steps=1)), 80 * z * S**2 / (S**2 + 80**2))


def test_the_network_sees_the_dtype_of_z_and_the_state_stays_float64() -> None:
    net = Gaussian()
    x = heun(net, z_rows(dtype=torch.float32), None, Heun.Config(steps=2))
    assert {dtype for _, dtype in net.calls} == {torch.float32} and x.dtype == torch.float64


def test_churn_raises_the_noise_level_only_between_S_min_and_S_max() -> None:
    net, config = Gaussian(), Heun.Config(steps=4, S_churn=1.0, S_min=0.05, S_max=50.0)
    asked: list[int] = []
    heun(net, z_rows(), None, config, lambda i: asked.append(i) or torch.zeros(4, 3, 2, 2))
    t = levels(net, config)
    assert asked == [1, 2]
    assert [sigma for sigma, _ in net.calls[::2]] == pytest.approx([t[0], 1.25 * t[1], 1.25 * t[2], t[3]])


def test_the_hook_gives_the_same_image_in_any_batch_even_with_churn() -> None:
    component, z = Heun(Heun.Config(steps=3, S_churn=10.0)), z_rows(4, torch.float32)
    state = SimpleNamespace(generator=Gaussian(), seed=7)
    x = component.sample(state, z, None)
    assert x.dtype == z.dtype
    torch.testing.assert_close(component.sample(state, z[2:3], None), x[2:3])
    state.seed = 8
    assert (component.sample(state, z, None) - x).abs().max() > 1e-3


def test_churn_noise_is_unit_normal_and_new_at_every_step() -> None:
    noise = own_noise(torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(1)), seed=0)
    first, second = noise(0), noise(1)
    assert abs(float(first.mean())) < 0.05 and abs(float(first.std()) - 1) < 0.05
    assert abs(float((first * second).mean())) < 0.05
