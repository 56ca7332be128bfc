"""Spectral norms: torch's where a turn is one pass, and the same for any number of micro-batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from distillkit_gdd.heads import Head, Heads
from distillkit_gdd.spectral import SpectralConv2d
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from distillkit.testing import toy_state
from distillkit.testing.training import gradients, weights
from distillkit.train import turns
from distillkit.train.iterate import iterate
from distillkit.train.state import State

GDD = {"use": "gdd", "projection": 4, "width": 16, "embedding": 8, "cmap": 4, "r1_every": 2, "warmup_kimg": 0.0}


def convolutions(network: nn.Module) -> list[SpectralConv2d]:
    return [module for module in network.modules() if isinstance(module, SpectralConv2d)]


def test_one_pass_a_turn_is_torchs_spectral_norm_bit_for_bit() -> None:
    """The authors' discriminator is made of torch's: an iteration before each pass in training."""
    made: list[nn.Module] = []
    for wrap in (lambda: spectral_norm(nn.Conv2d(3, 5, 4, 2, 1)), lambda: SpectralConv2d(3, 5, 4, 2, 1)):
        torch.manual_seed(0)
        made.append(wrap())
    theirs, ours = made
    assert isinstance(ours, SpectralConv2d)
    optimizers = [torch.optim.Adam(network.parameters(), lr=0.05) for network in made]
    for turn in range(8):
        x = torch.randn(2, 3, 8, 8)
        ours.due = True
        y = [network(x) for network in made]
        assert torch.equal(*y), turn
        for optimizer, out in zip(optimizers, y, strict=True):
            optimizer.zero_grad()
            out.square().sum().backward()
            optimizer.step()
    theirs.eval()
    assert torch.equal(ours(x), theirs(x))


def test_only_the_pass_that_is_due_makes_an_iteration() -> None:
    conv, x = SpectralConv2d(3, 5, 4), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        conv.weight.add_(0.1 * torch.randn_like(conv.weight))
    before = conv.u.clone()
    conv(x)
    assert torch.equal(conv.u, before)
    conv.due = True
    conv(x)
    after = conv.u.clone()
    assert not torch.equal(after, before)
    conv(x)
    assert torch.equal(conv.u, after)


def test_every_convolution_of_a_head_has_spectral_norm_one() -> None:
    heads = Heads([nn.ModuleList([Head(4, 16, end=4, width=16, classes=0, embedding=1, cmap=1)])])
    x = torch.randn(8, 4, 16, 16)
    for _ in range(200):
        heads.spectral_norms_follow()
        heads([[x]], None)
    assert len(convolutions(heads)) == 3
    for conv in convolutions(heads):
        assert torch.linalg.matrix_norm(conv.normalised().flatten(1), 2).item() == pytest.approx(1, rel=1e-3)


def ready(micro_batch: int, **loss: Any) -> State:
    return toy_state(
        run={"batch": 8, "micro_batch": micro_batch, "precision": "fp64"}, generator_loss={**GDD, **loss}
    )  # fmt: skip


def vectors(state: State) -> Tensor:
    return torch.cat([torch.cat([conv.u, conv.v]) for conv in convolutions(state.networks["discriminator"])])


@pytest.mark.parametrize("micro_batch", [4, 2])
def test_without_batch_statistics_micro_batches_change_nothing(micro_batch: int) -> None:
    """Heads that end at the size of their maps have no BatchNorm: all else is the same numbers, R1's turn included."""
    whole, parts = (ready(n, end_size=64) for n in (8, micro_batch))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in whole.networks["discriminator"].modules())
    for _ in range(4):
        iterate(whole)
        iterate(parts)
    assert (vectors(whole) - vectors(parts)).abs().max() < 1e-10
    for (name, a), (_, b) in zip(gradients(whole), gradients(parts), strict=True):
        assert (a - b).norm() < 1e-9 * a.norm(), name
    assert all((weights(parts)[name] - found).abs().max() < 1e-9 for name, found in weights(whole).items())


def test_batch_statistics_are_of_a_pass_and_spectral_norms_are_not() -> None:
    whole, parts = ready(8), ready(4)
    assert any(isinstance(module, nn.BatchNorm2d) for module in whole.networks["discriminator"].modules())
    before = vectors(whole)
    for state in (whole, parts):
        iterate(state)  # one turn of each, on the weights of before: as many power iterations
    assert (vectors(whole) - before).abs().max() > 1e-6
    assert (vectors(whole) - vectors(parts)).abs().max() < 1e-12
    assert (weights(whole)["discriminator"] - weights(parts)["discriminator"]).abs().max() > 1e-6


def test_each_turn_makes_one_iteration_the_generators_included() -> None:
    state = ready(4)
    state.iteration = 2  # R1's too
    counted: list[str] = []
    conv = convolutions(state.networks["discriminator"])[0]
    iteration = conv.iterate
    conv.iterate = lambda times=1: (counted.append(turn.name), iteration(times))[1]  # type: ignore[method-assign]
    for turn in state.turns:
        turns.take(state, turn)
    assert counted == ["generator", "discriminator", "r1"]
