"""An optimizer of a plugin within the engine: what is refused, what is never left half done."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Choice, Optimizer, PluginError, Schedule, UpdateRule, UsageError
from distillkit.testing import toys
from distillkit.testing.training import run, weights
from distillkit.train import host
from distillkit.train.optim import Updater, lr_at


class Signs(UpdateRule):
    """By the sign of the average gradient."""

    elementwise = True
    forgets = False

    def begin(self, name: str, p: Tensor) -> dict[str, Tensor]:
        return {"average": torch.zeros_like(p)}

    def move(
        self, name: str, p: Tensor, grad: Tensor, state: Mapping[str, Tensor], t: Tensor, lr: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        m = state["average"].lerp(grad, 0.1)
        return p - lr * m.sign(), {} if self.forgets else {"average": m}


class Bad(Schedule):
    """Of no sense."""

    def factor(self, nimg: int, total: int) -> float:
        return math.nan if nimg else -1.0


def optimizer(rule: type[UpdateRule] = Signs) -> Optimizer:
    return Optimizer(name=Choice("optimizer", "signs", rule, rule.Config()), lr=0.1)


def test_lr_is_that_of_the_images_and_gradients_are_clipped_before() -> None:
    net = nn.Linear(2, 1, bias=False)
    before = net.weight.detach().clone()
    clipped = attrs.evolve(optimizer(), warmup_kimg=1.0, clip_value=0.5)
    updater = Updater(clipped, net)
    net.weight.grad = torch.tensor([[3.0, -3.0]])
    updater.step(500, 10_000)
    torch.testing.assert_close(before - net.weight, torch.tensor([[0.05, -0.05]]))
    torch.testing.assert_close(updater.tensors()["0/average"], torch.tensor([[0.05, -0.05]]))
    assert float(updater.tensors()["0/step"]) == 1


def test_one_that_loses_its_state_is_a_plugins_mistake() -> None:
    net = nn.Linear(2, 1)
    net.weight.grad = torch.ones(1, 2)
    with pytest.raises(PluginError, match=r"optimizer 'signs' keeps \['average'\] and returned \[\]"):
        Updater(optimizer(type("Forgets", (Signs,), {"forgets": True})), net).step(0, 1)


@pytest.mark.parametrize("nimg", [0, 5])
def test_a_factor_that_is_none_is_a_plugins_mistake(nimg: int) -> None:
    settings = Optimizer(schedule=Choice("schedule", "bad", Bad, Bad.Config()))
    with pytest.raises(PluginError, match=r"schedule 'bad' gives lr the factor (nan|-1.0) at"):
        lr_at(settings, nimg, 10)


def test_state_that_lies_with_the_host_comes_for_the_step_alone() -> None:
    nets = []
    for away in (False, True):
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        updater = Updater(optimizer(), net)
        if away:
            updater.moments = host.Moments(updater.optimizer)
        for i in range(3):
            for p in net.parameters():
                p.grad = torch.full_like(p, i - 1.0)
            updater.step(i, 10)
        nets.append(net)
    assert torch.equal(nets[0].weight, nets[1].weight)


def test_moments_of_8_bits_are_of_the_engines_own() -> None:
    with pytest.raises(UsageError, match=r"run.state_bits: muon keeps its state in 32 bits"):
        toys.toy_state(run={"state_bits": 8}, generator={"optimizer": {"name": {"use": "muon", "least": 2}}})


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_it_trains_in_every_precision(precision: str) -> None:
    table = {"name": {"use": "muon", "least": 2}, "schedule": "wsd"}
    state = toys.toy_state(run={"precision": precision}, generator={"optimizer": table})
    before = weights(state)["generator"]
    after = weights(run(state, 2))["generator"]
    assert after.isfinite().all() and not torch.equal(before, after) and after.dtype == before.dtype
