"""Learning rates in images, clipping, and optimizer states that survive a checkpoint bit for bit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from distillkit.api import Optimizer
from distillkit.train.optim import Updater, lr_at


def network() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def teach(net: nn.Module, updater: Updater, first: int, steps: int) -> None:
    for i in range(first, first + steps):
        generator = torch.Generator().manual_seed(i)
        for p in net.parameters():
            p.grad = torch.randn(p.shape, generator=generator)
        updater.step(i * 16, 1600)


@pytest.mark.parametrize(
    ("settings", "nimg", "expected"),
    [
        ({}, 0, 1.0),
        ({}, 999, 1.0),
        ({"warmup_kimg": 0.1}, 0, 0.0),
        ({"warmup_kimg": 0.1}, 25, 0.25),
        ({"warmup_kimg": 0.1}, 100, 1.0),
        ({"schedule": "cosine"}, 0, 1.0),
        ({"schedule": "cosine"}, 500, 0.5),
        ({"schedule": "cosine"}, 1000, 0.0),
        ({"schedule": "cosine"}, 2000, 0.0),
        ({"schedule": "cosine", "decay_from": 0.5}, 500, 1.0),
        ({"schedule": "cosine", "decay_from": 0.5}, 750, 0.5),
        ({"schedule": "cosine", "final_lr": 0.2}, 500, 0.6),
        ({"schedule": "cosine", "final_lr": 0.2}, 1000, 0.2),
        ({"schedule": "cosine", "warmup_kimg": 1.0}, 250, 0.25 * (1 + math.cos(math.pi / 4)) / 2),
        ({"schedule": "inverse_sqrt", "ref_kimg": 0.1}, 100, 1.0),
        ({"schedule": "inverse_sqrt", "ref_kimg": 0.1}, 400, 0.5),
        ({"schedule": "inverse_sqrt", "ref_kimg": 0.1}, 10_000, 0.1),
        ({"schedule": "inverse_sqrt", "ref_kimg": 0.1, "warmup_kimg": 0.8}, 400, 0.25),
    ],
)
def test_learning_rates_by_hand(settings: dict, nimg: int, expected: float) -> None:
    assert lr_at(Optimizer(lr=3.0, **settings), nimg, 1000) == pytest.approx(3 * expected, abs=1e-12)


def test_the_step_uses_the_rate_of_its_images() -> None:
    net = network()
    before = net.weight.detach().clone()
    updater = Updater(Optimizer(lr=1e-2, betas=(0.0, 0.999), warmup_kimg=1.0), net)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    updater.step(0, 10_000)
    assert torch.equal(net.weight, before)  # warm-up starts at zero
    updater.step(500, 10_000)
    torch.testing.assert_close(before - net.weight, torch.full_like(before, 5e-3))  # Adam: lr * sign


@pytest.mark.parametrize("name", ["adam", "adamw", "radam"])
def test_an_optimizer_is_torchs_own(name: str) -> None:
    ours, theirs = network(), network()
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "radam": torch.optim.RAdam}[name]
    options = {"lr": 1e-2, "betas": (0.5, 0.99), "eps": 1e-6, "weight_decay": 0.1}
    plain = kind(theirs.parameters(), **options)
    updater = Updater(Optimizer(name=name, **options), ours)
    for i in range(8):
        teach(ours, updater, i, 1)
        for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
            p.grad = q.grad.clone()
        plain.step()
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("name", ["adam", "adamw", "radam"])
def test_a_restored_optimizer_goes_on_bit_for_bit(name: str) -> None:
    settings = Optimizer(name=name, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.01, schedule="cosine")
    straight, halted = network(), network()
    teach(straight, Updater(settings, straight), 0, 12)
    first = Updater(settings, halted)
    teach(halted, first, 0, 7)
    saved = {key: value.clone() for key, value in first.tensors().items()}
    resumed = network()
    resumed.load_state_dict(halted.state_dict())
    second = Updater(settings, resumed)
    second.load(saved)
    assert {key: value.dtype for key, value in second.tensors().items()} == {k: v.dtype for k, v in saved.items()}
    teach(resumed, second, 7, 5)
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("clip", [{}, {"clip_value": 0.1}, {"clip_norm": 0.1}], ids=["", "value", "norm"])
@pytest.mark.parametrize("name", ["adam", "adamw", "radam"])
def test_a_step_that_is_skipped_is_as_if_it_never_was(name: str, clip: dict) -> None:
    settings = Optimizer(name=name, lr=1e-2, betas=(0.9, 0.99), weight_decay=0.01, **clip)
    straight, sick = network(), network()
    a, b = Updater(settings, straight), Updater(settings, sick)
    for i in range(8):
        for bad in (math.nan, math.inf) if i in (0, 4) else ():
            for p in sick.parameters():
                p.grad = torch.full_like(p, bad)
            b.step(i * 16, 1600, torch.tensor(True))
        teach(straight, a, i, 1)
        teach(sick, b, i, 1)
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), sick.parameters(), strict=True))
    assert all(torch.equal(value, b.tensors()[key]) for key, value in a.tensors().items())


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99), (0.5, 0.7)])
def test_radam_has_the_bits_of_torchs(betas: tuple[float, float]) -> None:
    ours, theirs = network(), network()
    options = {"lr": 3e-3, "betas": betas, "eps": 1e-8, "weight_decay": 0.01}
    plain = torch.optim.RAdam(theirs.parameters(), foreach=False, **options)
    updater = Updater(Optimizer(name="radam", **options), ours)
    for i in range(20):
        teach(ours, updater, i, 1)
        for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
            p.grad = q.grad.clone()
        plain.step()
        assert all(torch.equal(p, q) for p, q in zip(theirs.parameters(), ours.parameters(), strict=True))


def test_clipping_by_value_and_by_norm() -> None:
    net = network()
    for settings, expected in (
        (Optimizer(clip_value=0.5), [0.5, -0.5, 0.25]),
        (Optimizer(clip_norm=1.0), [2.0 / 3, -2.0 / 3, 0.25 / 3]),
        (Optimizer(clip_norm=100.0), [2.0, -2.0, 0.25]),
    ):
        net.bias.grad, net.weight.grad = torch.zeros(2), torch.zeros(2, 3)
        net.weight.grad[0] = torch.tensor([2.0, -2.0, 0.25])
        net.bias.grad[0] = math.sqrt(9 - 8 - 0.0625)  # a norm of 3
        updater = Updater(settings, net)
        assert updater.norm().item() == pytest.approx(3)
        updater.step(0, 1000)
        assert net.weight.grad[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_frozen_parameters_have_no_optimizer_state() -> None:
    net = network()
    updater = Updater(Optimizer(), net, frozenset({"bias"}))
    teach(net, updater, 0, 1)
    assert {key.split("/")[0] for key in updater.tensors()} == {"0"}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_norm_shows_one_bad_number(bad: float) -> None:
    net = network()
    net.weight.grad = torch.zeros(2, 3)
    assert torch.isfinite(Updater(Optimizer(), net).norm())
    net.weight.grad[1, 2] = bad
    assert not torch.isfinite(Updater(Optimizer(), net).norm())
