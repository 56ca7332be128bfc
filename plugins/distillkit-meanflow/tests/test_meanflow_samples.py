"""Samples of flow maps and the average of their weights against the recorded numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from distillkit_meanflow.guided import GuidedModule
from meanflow_stubs import Data, Stub, TwoHeads, numbers
from torch import Tensor, nn

from distillkit.builtin import flow_map
from distillkit.builtin.flow_map import FlowMap
from distillkit.testing import toy_state
from distillkit.train.iterate import iterate

FIRST = 1e9  # they begin at t = 1, where the noise level is infinite: here as near as float64 can tell


@pytest.fixture(scope="module")
def data() -> dict[str, Data]:
    return numbers()


def sampled(student: Any, z: Tensor, numbers: Tensor, *sigmas: float, gamma: float = 0.0) -> Tensor:
    labels = torch.eye(1 + int(numbers.max()), dtype=torch.float64)[numbers.long()]
    seen: Any = SimpleNamespace(generator=student, seed=0)
    return FlowMap(FlowMap.Config(sigmas=sigmas, gamma=gamma)).sample(seen, z, labels)


def test_one_step_is_the_authors_sample(data: dict[str, Data]) -> None:
    io = data["meanflow"]
    z = io["py_sample_draw00_randn"]
    y = sampled(Stub(io["A"], io["B"]), z, torch.zeros(len(z)), FIRST)
    torch.testing.assert_close(y, io["py_sample_y"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("tag", "sigmas", "gamma"), [("ode1", 1, 0), ("ode2", 2, 0), ("sde2", 2, 1)])
def test_steps_that_follow_the_flow_or_begin_anew_are_fastgens(
    data: dict[str, Data], tag: str, sigmas: int, gamma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its times are 0.999 and 0.5."""
    io = data["meanflow"]
    monkeypatch.setattr(flow_map, "own_noise", lambda z, seed: lambda i: io["sample_sde2_draw00_randn_like"])
    y = sampled(Stub(io["A"], io["B"]), io["sample_z"], io["condition"], *(999.0, 1.0)[:sigmas], gamma=gamma)
    torch.testing.assert_close(y, io[f"sample_{tag}_y"], rtol=1e-5, atol=1e-5)


class Inner(nn.Module):
    """The recorded pair of heads, as the network in `guided-flow-map`."""

    resolution, sigma_data, sigma_min, sigma_max = 8, 0.5, 0.0, math.inf

    def __init__(self, heads: TwoHeads) -> None:
        super().__init__()
        self.pair = heads

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor, r: Any = None) -> Tensor:
        guidance = torch.cat([1 / (1 - labels[:, -3:-2]), labels[:, -2:]], dim=1)
        sigma = torch.as_tensor(sigma).expand(len(x), 1, 1, 1)
        return torch.cat(self.pair.heads(x.chunk(2, dim=1)[0], sigma, labels[:, :-3], r, guidance), dim=1)


@pytest.mark.parametrize(("tag", "sigmas"), [("sample1", (FIRST,)), ("sample2", (FIRST, 1.0))])
def test_improved_meanflows_samples_are_the_authors_at_the_networks_own_guidance(
    data: dict[str, Data], tag: str, sigmas: tuple[float, ...]
) -> None:
    io = data["imf"]
    student = GuidedModule(Inner(TwoHeads(io)), 3, int(io["labels"].max()) + 1, (7.5, 0.4, 0.65))
    y = sampled(student, io["z"], io["labels"], *sigmas)
    torch.testing.assert_close(y, io[tag], rtol=1e-5, atol=1e-5)


def test_an_average_that_moves_every_16th_iteration_is_the_authors(data: dict[str, Data]) -> None:
    """0.9999 of it stays per iteration, from the first on, while each of them adds 0.01 to A."""
    io = data["meanflow"]
    halflife = 8 * math.log(0.5) / math.log(0.9999) / 1000
    average = {"ema_every": 16, "ema_halflife_kimg": halflife}
    state = toy_state(
        generator=average, generator_loss={"use": "meanflow"}, run={"kimg": 1, "batch": 8, "precision": "fp64"}
    )
    state.turns = []
    student, mean = (Stub(io["A"], io["B"]) for _ in range(2))
    state.networks["generator"], state.average = student, cast(Any, mean)
    for _ in range(32):
        student.A.data += 0.01
        iterate(state)
    torch.testing.assert_close(student.A, io["py_A_after32"], rtol=1e-6, atol=0)
    torch.testing.assert_close(mean.A - io["A"], io["py_ema_A_after32"] - io["A"], rtol=1e-3, atol=1e-6)
