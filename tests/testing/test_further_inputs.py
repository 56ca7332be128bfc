"""The kit on networks that take more than x, sigma and labels: a second noise level, and what may be wrong with it."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Denoiser, UsageError
from distillkit.builtin.mlp import Mlp
from distillkit.testing import NetworkContract
from distillkit.testing.sampling import Watched


class Jumping(nn.Module):
    """An mlp that takes r: what it says of a jump is moved by an amount for each pixel."""

    label_dim, channels, resolution, second_time = 3, 2, 8, True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = Mlp(Mlp.Config(width=8, depth=1)).module(self.resolution, self.channels, self.label_dim)
        self.moved = torch.randn(self.channels, self.resolution, self.resolution)

    def forward(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Tensor | None = None, *,
        r: Tensor | float | None = None,
    ) -> Tensor:  # fmt: skip
        D: Tensor = self.net(x, sigma, labels)
        return D if r is None else D + self.moved * self.jumped(r, torch.as_tensor(sigma).to(x).reshape(-1, 1, 1, 1))

    def jumped(self, r: Any, sigma: Tensor) -> Tensor:
        """The share of sigma that a jump takes away."""
        return 1 - torch.as_tensor(r).to(sigma).reshape(-1, 1, 1, 1) / sigma


class Unclosed(Jumping):
    """A jump to where it is changes the image."""

    def jumped(self, r: Any, sigma: Tensor) -> Tensor:
        return super().jumped(r, sigma) + 1


class Dividing(Jumping):
    """Divides by r, which may be 0."""

    def jumped(self, r: Any, sigma: Tensor) -> Tensor:
        return -(1 - super().jumped(r, sigma)).log()


class Deaf(Jumping):
    """Takes r and forgets it."""

    def jumped(self, r: Any, sigma: Tensor) -> Tensor:
        return torch.zeros_like(sigma)


class Gossip(Jumping):
    """Takes the mean over the batch for each row's r."""

    def jumped(self, r: Any, sigma: Tensor) -> Tensor:
        share = super().jumped(r, sigma)
        return share * torch.as_tensor(r).to(sigma).mean() if torch.as_tensor(r).numel() > 1 else share


class Willing(Jumping):
    """Was made without a second time and takes one."""

    second_time = False


class Refusing(Willing):
    """Was made without one and refuses it."""

    def jumped(self, r: Any, sigma: Tensor) -> Tensor:
        raise UsageError("this network was made without a second time")


def judge(net: nn.Module) -> None:
    NetworkContract().test_a_second_noise_level_is_where_it_jumps_to(cast(Denoiser, net))


@pytest.mark.parametrize("right", [Jumping, Refusing])
def test_a_flow_map_passes(right: type[Jumping]) -> None:
    judge(right())


def test_a_network_without_a_second_time_has_nothing_to_show() -> None:
    judge(Jumping().net)


@pytest.mark.parametrize("fault", [Unclosed, Dividing, Deaf, Gossip])
def test_a_fault_of_a_flow_map_is_found(fault: type[Jumping]) -> None:
    with pytest.raises(AssertionError):
        judge(fault())


def test_a_network_that_takes_r_though_it_was_made_without_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        judge(Willing())


def test_a_watched_network_is_given_all_that_it_is_asked() -> None:
    net = Jumping()
    x, sigma, labels = torch.randn(2, 2, 8, 8), torch.ones(2, 1, 1, 1), torch.eye(3)[:2]
    watched = Watched(cast(Denoiser, net))
    assert torch.equal(watched(x, sigma, labels, r=0.5), net(x, sigma, labels, r=0.5))
    assert watched.second_time


class Eps(nn.Module):
    """D = x - sigma eps of a network in bfloat16, where it is asked for, of `rounding` more than that has."""

    compute_dtype: torch.dtype | None = None
    label_dim, channels, resolution = 0, 2, 8

    def __init__(self, rounding: float = 0.0) -> None:
        super().__init__()
        self.rounding = rounding

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        eps = (x / (1 + sigma**2).sqrt() * 3).sin()
        if self.compute_dtype is not None:
            eps = eps.to(self.compute_dtype).to(x.dtype) * (1 + self.rounding)
        return x - sigma * eps


def test_bfloat16_is_judged_by_the_size_of_the_noise() -> None:
    net: Any = Eps(0.05)  # at sigma 20 a change by 1, of what is 20
    NetworkContract().test_layers_in_bfloat16_still_give_the_dtype_of_the_weights(net)
    broken: Any = Eps(0.5)
    with pytest.raises(AssertionError, match="bfloat16 changes"):
        NetworkContract().test_layers_in_bfloat16_still_give_the_dtype_of_the_weights(broken)
