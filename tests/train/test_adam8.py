"""Adam with moments of 8 bits: near Adam, exact where they are small, skipped and resumed as the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Optimizer, UsageError
from distillkit.plan.stages import stages
from distillkit.recipe import shipped
from distillkit.testing.toys import catalog
from distillkit.train import adam8
from distillkit.train.optim import Updater


class Weights(nn.Module):
    """A matrix whose moments are codes, and a bias whose moments are not."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(64, 128, generator=draw))
        self.bias = nn.Parameter(torch.randn(64, generator=draw))


def gradients(step: int, scale: float = 1.0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(step)
    return [scale * torch.randn(64, 128, generator=draw).exp(), scale * torch.randn(64, generator=draw)]


def steps(bits: int, first: int = 0, last: int = 20, into: Updater | None = None, **settings: Any) -> Updater:
    updater = into or Updater(Optimizer(lr=1e-3, betas=(0.9, 0.99), **settings), Weights(), bits=bits)
    for step in range(first, last):
        for p, g in zip(updater.params, gradients(step), strict=True):
            p.grad = g
        updater.step(step, 1000, torch.tensor(False))
    return updater


def moved(updater: Updater) -> list[Tensor]:
    return [p.detach() - start.detach() for p, start in zip(updater.params, Weights().parameters(), strict=True)]


@pytest.mark.parametrize("settings", [{}, {"name": "adamw", "weight_decay": 0.1}, {"weight_decay": 0.1}])
def test_what_trains_moves_as_with_32_bits(settings: dict[str, Any]) -> None:
    matrix, bias = moved(steps(8, **settings))
    wanted_matrix, wanted_bias = moved(steps(32, **settings))
    torch.testing.assert_close(bias, wanted_bias, rtol=1e-4, atol=1e-7)  # its moments are float32
    apart = (matrix - wanted_matrix).norm() / wanted_matrix.norm()
    assert 1e-4 < apart < 0.03, f"{apart:.1e}"


def test_moments_take_a_quarter_of_the_memory() -> None:
    def size(bits: int) -> int:
        return sum(value.nbytes for value in steps(bits, last=1).tensors().values())

    assert 0.25 < size(8) / size(32) < 0.27


def test_a_skipped_update_changes_nothing() -> None:
    updater = steps(8, last=3)
    before = {name: value.clone() for name, value in updater.tensors().items()}, [p.clone() for p in updater.params]
    for p, g in zip(updater.params, gradients(3, torch.nan), strict=True):
        p.grad = g
    updater.step(3, 1000, torch.tensor(True))
    assert all(torch.equal(value, before[0][name]) for name, value in updater.tensors().items())
    assert all(torch.equal(p, old) for p, old in zip(updater.params, before[1], strict=True))


def test_a_resumed_one_goes_on_to_the_same_bits() -> None:
    straight, first = steps(8, last=6), steps(8, last=3)
    network = Weights()
    network.load_state_dict(dict(zip(("matrix", "bias"), first.params, strict=True)))
    resumed = Updater(first.settings, network, bits=8)
    resumed.load({name: value.clone() for name, value in first.tensors().items()})
    assert resumed.tensors()["0/exp_avg"].dtype == torch.uint8
    steps(8, 3, 6, into=resumed)
    assert all(torch.equal(a, b) for a, b in zip(straight.params, resumed.params, strict=True))


def test_without_torchao_it_is_refused_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adam8, "find_spec", lambda name: None)
    for device in ("cpu", "meta"):  # when a recipe is checked as well
        with pytest.raises(UsageError, match=r"pip install 'distillkit\[torchao\]'"):
            Updater(Optimizer(), Weights().to(device), bits=8)


def test_a_plan_counts_a_quarter_of_the_moments() -> None:
    def moments(bits: int) -> float:
        (stage,) = stages(shipped.asked("cifar10_uncond_sid"), [f"run.state_bits={bits}"], Path("runs"), catalog())
        return sum(role.optimizer for role in stage.roles)

    assert 0.25 < moments(8) / moments(32) < 0.27


def test_its_import_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    adam8.quantization()
    assert capfd.readouterr().err == ""
