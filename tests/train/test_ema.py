"""Averages of weights: the two published formulas, and what they leave alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from distillkit.recipe.schema import Generator
from distillkit.testing import toy_state
from distillkit.train import ema
from distillkit.train.iterate import iterate


def average(settings: Generator, weights: list[float], batch: int) -> float:
    """The average after seeing `weights`, one per step."""
    mean, network = nn.Linear(1, 1, dtype=torch.float64), nn.Linear(1, 1, dtype=torch.float64)
    nn.init.constant_(mean.weight, 99.0)
    for step, weight in enumerate(weights):
        nn.init.constant_(network.weight, weight)
        ema.update(mean, network, ema.beta(settings, step * batch, batch))
    return mean.weight.item()


def test_a_half_life_by_hand() -> None:
    settings = Generator(ema_halflife_kimg=2.0, ema_rampup_ratio=None)
    assert ema.beta(settings, 0, 2000) == 0.5
    assert ema.beta(settings, 10**6, 1000) == pytest.approx(0.5**0.5)


def test_the_half_life_grows_with_the_run_up_to_its_value() -> None:
    settings = Generator(ema_halflife_kimg=500, ema_rampup_ratio=0.05)
    assert ema.beta(settings, 20_000, 1000) == 0.5  # h = 0.05 * 20 kimg
    assert ema.beta(settings, 200_000, 1000) == pytest.approx(0.5**0.1)
    assert ema.beta(settings, 10**8, 1000) == pytest.approx(0.5**0.002)  # 500 kimg at last


@pytest.mark.parametrize("settings", [Generator(), Generator(ema="power"), Generator(ema="none")])
def test_the_first_step_copies(settings: Generator) -> None:
    assert average(settings, [3.0], 16) == 3.0


def test_without_an_average_the_weights_are_copied_each_time() -> None:
    assert average(Generator(ema="none"), [3.0, 5.0, 4.0], 16) == 4.0


@pytest.mark.parametrize("gamma", [1.0, 6.94])
def test_the_power_function_average_has_its_profile(gamma: float) -> None:
    """The product of the shares that stay telescopes: step k of n weighs the integral of (gamma+1) t^gamma over it."""
    n, settings = 40, Generator(ema="power", ema_gamma=gamma)
    found = [average(settings, [float(i == k) for i in range(n)], 16) for k in range(n)]
    stays = [(1 - 1 / t) ** (gamma + 1) for t in range(1, n + 1)]
    exact = [(1 - stays[k]) * torch.tensor(stays[k + 1 :], dtype=torch.float64).prod().item() for k in range(n)]
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-15)
    assert sum(found) == pytest.approx(1)
    profile = [((k + 1) / n) ** (gamma + 1) - (k / n) ** (gamma + 1) for k in range(n)]
    assert found == pytest.approx(profile, abs=1e-9)


def test_a_linear_ramp_has_the_closed_form_average() -> None:
    n, gamma = 4000, 6.94
    found = average(Generator(ema="power", ema_gamma=gamma), [i / n for i in range(1, n + 1)], 8)
    assert found == pytest.approx((gamma + 1) / (gamma + 2), rel=1e-3)


def test_buffers_stay_as_they_are() -> None:
    mean, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    network.running_mean.fill_(7.0)
    nn.init.constant_(network.weight, 3.0)
    ema.update(mean, network, 0.0)
    assert mean.weight.tolist() == [3.0, 3.0] and mean.running_mean.tolist() == [0.0, 0.0]
    assert network.weight.grad is None and mean.weight.grad_fn is None


def test_no_average_has_no_iterations_between_its_updates() -> None:
    with pytest.raises(ValueError, match="'ema_every' is of an average"):
        Generator(ema="none", ema_every=2)


@pytest.mark.parametrize("settings", [Generator(ema_every=3), Generator(ema="power", ema_every=3)])
def test_between_its_updates_an_average_stays_and_one_makes_up_for_all(settings: Generator) -> None:
    state: Any = toy_state(generator={"ema": settings.ema, "ema_every": 3})
    state.turns = []
    mean, weight = (next(net.parameters()) for net in (state.average, state.networks["generator"]))
    before = mean.clone()
    weight.data += 1.0
    for iteration in range(1, 7):
        iterate(state)
        assert torch.equal(mean, before) == (iteration < 3)
        if iteration == 3:  # the first update copies
            torch.testing.assert_close(mean, weight)
            weight.data += 1.0
    left = ema.beta(settings, 3 * state.batch, 3 * state.batch)
    assert 0 < left < 1
    torch.testing.assert_close(mean, weight - left)
