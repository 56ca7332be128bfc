"""`step.jvp`: value and derivative of a pass in training, in every precision, under the same masks; and who trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import GeneratorLoss, State, Step, Turn, UsageError, hookimpl
from distillkit.testing import toys
from distillkit.train import turns
from distillkit.train.jvp import changed

UNET = {"use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
        "dropout": 0.3}  # fmt: skip
EDM2 = {"use": "edm2", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
        "channels_per_head": 8, "dropout": 0.3}  # fmt: skip


def made(network: dict[str, Any] = UNET, **run: Any) -> Any:
    tables: dict[str, Any] = {"generator": {"init": "scratch", "network": network}, "run": {"precision": "fp64", **run}}
    return toys.toy_state(**tables)


def asked(state: Any, eps: float | None = None, ends: Any = None) -> list[Tensor]:
    """Value, derivative and the value's gradient of a turn's pass; with `eps` by differences."""
    torch.manual_seed(0)
    toys.perturbed(state.networks["generator"])
    (turn,) = [turn for turn in state.turns if "generator" in turn.trains]
    with turns.training(state, turn), noise.masks(3, 0, state.batch):
        step = toys.toy_step(state)
        at = (step.real, step.uniform(0.5, 2.0))
        along = (step.randn_like(step.real), step.randn(1, 1, 1))

        def D(x: Tensor, sigma: Tensor) -> Tensor:
            denoised: Tensor = state.generator(x, sigma, step.labels)
            return denoised

        if eps is None:
            value, derivative = step.jvp(D, at, along, ends)
        else:
            with noise.masks_kept():
                value = D(*at)
            moved = []
            for sign in (eps, -eps):
                with torch.no_grad(), noise.masks_kept():
                    moved.append(D(*(x + sign * v for x, v in zip(at, along, strict=True))))
            derivative = (moved[0] - moved[1]) / (2 * eps)
        assert not derivative.requires_grad
        params = [p for p in state.networks["generator"].parameters() if p.requires_grad]
        grads = torch.autograd.grad((value * derivative).sum(), params, materialize_grads=True)
    return [value.detach(), derivative, torch.cat([grad.flatten() for grad in grads])]


@pytest.mark.parametrize("network", [UNET, EDM2], ids=lambda network: network["use"])
def test_a_derivative_in_training_is_the_limit_of_differences(network: dict[str, Any]) -> None:
    found, want = asked(made(network)), asked(made(network), eps=1e-5)
    assert want[1].abs().max() > 0.1
    torch.testing.assert_close(found[0], want[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[1:], want[1:], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("run", [{}, {"precision": "bf16"}], ids=str)
def test_by_a_difference_it_is_nearly_the_same_under_the_same_masks(run: dict[str, Any]) -> None:
    h, near = (1e-2, 1e-3) if run else (1e-5, 1e-6)
    want, plain = asked(made(precision="fp32") if run else made()), asked(made(**run))
    found = asked(made(**run), ends=(-h, h))
    torch.testing.assert_close(found[1], want[1], rtol=near, atol=near)
    assert torch.equal(found[0], plain[0]) and found[1].dtype == want[1].dtype
    behind = asked(made(**run), ends=(torch.full((1, 1, 1, 1), -h), 0.0))[1]
    assert near < (behind - want[1]).abs().max() < 100 * h


def test_a_pass_apart_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = made(checkpoint_activations=True)
    assert changed(apart) and not changed(made())
    torch.testing.assert_close(asked(apart), asked(made()), rtol=1e-9, atol=1e-12)


def test_under_bf16_the_value_is_that_of_any_pass_and_the_derivative_has_all_digits() -> None:
    half, full = made(precision="bf16"), made(precision="fp32")
    found, want, plain = asked(half), asked(full), asked(made(precision="bf16"), eps=1.0)
    assert torch.equal(found[0], plain[0]) and not torch.equal(found[0], want[0])
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(found[1], want[1], rtol=1e-6, atol=1e-6)
    assert half.generator.compute_dtype == torch.bfloat16


class Blind(torch.autograd.Function):
    """Knows its way back alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def test_what_has_no_derivative_is_told_in_a_line() -> None:
    step = toys.toy_step(made())
    with pytest.raises(UsageError, match="this network has no derivative in forward mode: "):
        step.jvp(Blind.apply, (step.real,), (step.real,))
    x = step.real
    torch.testing.assert_close(step.jvp(Blind.apply, (x,), (x,), (-0.5, 0.5))[1], x)
    value, derivative = step.jvp(lambda x: step.real, (step.real,), (step.real,))
    assert torch.equal(value, step.real) and not derivative.any()


class Weighed(GeneratorLoss):
    """A loss with a weight of its own, which trains with the generator."""

    @hookimpl
    def setup(self, state: State) -> None:
        self.head = state.add_network("head", nn.Linear(1, 1))
        state.turns = [Turn(name="generator", trains=("generator", "head"), losses=("generator_loss",))]

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        u = self.head(step.real.new_ones(step.n, 1)).flatten()
        D = state.generator(step.real, 1.0, step.labels)
        loss: Tensor = (D - step.real).square().flatten(1).sum(1) / u.exp() + u
        return loss


def test_a_loss_without_critics_reaches_all_networks_of_its_turn(make_state: Any, toy: Any) -> None:
    state = make_state(generator_loss=toy(Weighed))
    head = state.networks["head"]
    before = [p.clone() for p in head.parameters()]
    assert not turns.take(state, state.turns[0])
    assert all(not torch.equal(p, was) for p, was in zip(head.parameters(), before, strict=True))
