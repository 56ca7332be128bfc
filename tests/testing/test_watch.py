"""What the contracts of losses see of a step: each way to wait for the device, each weight that wants a gradient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from distillkit.api import Dataset
from distillkit.testing.watch import thawed, waits

HERE = Path(__file__).name
WAITING: dict[str, Callable[[Tensor], Any]] = {
    "_local_scalar_dense": lambda x: 2 if x.sum() > 0 else 1,
    "nonzero": lambda x: x.nonzero(),
    "index": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "equal": lambda x: torch.equal(x, x + 1),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "numpy": lambda x: x.numpy(),
    "__array__": lambda x: np.asarray(x),
    "new_tensor": lambda x: x.new_tensor([1.0, 2.0]),
    "tensor": lambda x: torch.tensor([1.0], device=x.device),
    "_linalg_eigh": lambda x: torch.linalg.eigvalsh(x),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_is_noted_with_its_place(name: str) -> None:
    with waits() as found:
        WAITING[name](torch.eye(3))
    assert f"{HERE}:<lambda>: {name}" in found


def test_what_stays_on_the_device_is_not_noted() -> None:
    x = torch.eye(3, requires_grad=True)
    with waits() as found:
        y = torch.where(x > 0, x, x.new_full((), 2.0)).to(x.device)
        y = y[torch.tensor([0, 2])].clamp(min=0).norm().to(torch.float64) * torch.as_tensor(3.0)
        y.backward()
    assert found == []


def test_one_hot_waits_only_where_it_has_to_count_the_classes() -> None:
    classes = torch.arange(3)
    with waits() as found:
        one_hot(classes, 5)
        one_hot(classes, num_classes=5)
    assert found == []
    with waits() as found:
        one_hot(classes)
    assert f"{HERE}:test_one_hot_waits_only_where_it_has_to_count_the_classes: _local_scalar_dense" in found


class Look(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * float(grad.max())


def test_a_backward_pass_is_seen_too() -> None:
    x = torch.ones(3, requires_grad=True)
    with waits() as found:
        Look.apply(x).sum().backward()
    assert found == [f"{HERE}:backward: _local_scalar_dense"]


class Files(Dataset):
    def images(self, index: Tensor) -> Tensor:
        return torch.tensor([float(i) for i in index.tolist()])


def test_data_sets_and_allowed_places_may_wait() -> None:
    with waits({f"{HERE}:<lambda>"}) as found:
        Files(None).images(torch.arange(3))
        WAITING["tolist"](torch.eye(3))
    assert found == []


def test_a_weight_that_wants_a_gradient_is_noted_unless_it_trains_or_there_is_no_graph() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2).requires_grad_(False))
    x = torch.ones(1, 2)
    with thawed([]) as found:
        net(x)
    assert found == ["Linear.weight", "Linear.bias"]
    with thawed(list(net.parameters())) as found:
        net(x)
    assert found == []
    with thawed([]) as found, torch.no_grad():
        net(x)
    assert found == []
