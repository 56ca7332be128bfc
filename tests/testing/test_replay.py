"""Steps with recorded draws: each draw is the recorded one, and another number or shape of draws is an error."""

from __future__ import annotations

import pytest
import torch

from distillkit.testing import Affine, lognormal_draw, replayed, toy_state
from distillkit.train.state import State


@pytest.fixture
def state() -> State:
    return toy_state()


def test_the_draws_of_a_loss_are_the_recorded_ones_in_their_order(state: State) -> None:
    u, n = torch.rand(4, 1, 1, 1), torch.randn(4, *state.dataset.shape)
    step = replayed(state, [u, n])
    torch.testing.assert_close(step.uniform(1.0, 3.0), 1 + 2 * u)
    assert torch.equal(step.randn_like(n), n)


def test_behind_a_recorded_sigma_is_a_unit_normal(state: State) -> None:
    sigma = torch.tensor([0.02, 1.0, 40.0]).view(3, 1, 1, 1)
    step = replayed(state, [lognormal_draw(sigma, -1.2, 1.2)])
    torch.testing.assert_close(step.lognormal_sigma(-1.2, 1.2), sigma)


def test_images_are_those_given_or_the_runs_own(state: State) -> None:
    x = torch.zeros(3, *state.dataset.shape)
    step = replayed(state, [], x, x + 1)
    assert (step.n, step.batch) == (3, 3) and step.x is x and torch.equal(step.real, x + 1)
    own = replayed(state, [])
    assert own.n == state.batch and own.x.requires_grad and own.real.shape == own.x.shape


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ([], r"draw 1, rand\[1, 1, 1\], was not recorded"),
        ([torch.zeros(4, 1)], r"draw 1 was recorded as \[4, 1\], not \[4, 1, 1, 1\]"),
        ([torch.ones(4, 1, 1, 1)], r"draw 1 is not in \[0,1\)"),
    ],
)
def test_what_was_not_recorded_so_is_an_error(state: State, draws: list[torch.Tensor], message: str) -> None:
    step = replayed(state, draws, torch.zeros(4, *state.dataset.shape))
    with pytest.raises(AssertionError, match=message):
        step.uniform()


def test_the_affine_denoiser_keeps_what_it_was_asked_and_the_gradient_of_what_it_said() -> None:
    x, sigma = torch.ones(2, 1, 2, 2), torch.ones(2, 1, 1, 1)
    net = Affine(2 * x, 3 * x)
    net(x, sigma).sum().backward()
    (call,) = net.calls
    assert torch.equal(call.D, 5 * x) and torch.equal(call.x, x) and call.training
    assert torch.equal(call.D.grad, x) and torch.equal(net.A.grad, x)
