"""Several steps as FastGen has them: what the student's call is given in training, and both of its samplers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Rollout
from distillkit.builtin import few_step
from distillkit.noise import rho_grid
from distillkit.testing import toy_state, toy_step
from distillkit.train import rollout as rollouts
from distillkit.train.state import State
from distillkit.train.step import Step


@pytest.fixture(scope="module")
def io() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "fdistill_io.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


class Student(nn.Module):
    """Their stub: A x + B (1 + ln sigma / 10) + c / 20."""

    sigma_min, sigma_max = 0.0, float("inf")

    def __init__(self, io: dict[str, Tensor]) -> None:
        super().__init__()
        self.A, self.B, self.c = (io[name].double() for name in ("Ag", "Bg", "condition"))

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.A * x + self.B * (1 + 0.1 * sigma.log()) + 0.05 * self.c.view(-1, 1, 1, 1)


def started(io: dict[str, Tensor], **sample: Any) -> State:
    images = {"resolution": 8, "channels": 3, "label_dim": 0}
    state = toy_state(
        dataset=images, run={"precision": "fp64", "batch": 4}, teacher_score={"network": {"use": "mlp", "width": 8}},
        sample={"sigmas": io["four_t_list"][:-1].tolist(), **sample},
    )  # fmt: skip
    state.generator = Student(io)  # type: ignore[assignment]
    return state


def test_images_from_noised_real_ones(io: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the first level: ours is that of noise alone, as in sampling; theirs adds the real image there too."""
    sigmas, k = io["four_t_list"][:-1].tolist(), io["four_draw01_randint"]
    rollout, state = Rollout(sigmas=tuple(sigmas), start="data", drawn="row"), started(io, use="few-step")
    monkeypatch.setattr(rollouts, "last_calls", lambda step, rollout: k.tolist())
    monkeypatch.setattr(Step, "real", io["real"].double())
    z = io["four_draw00_randn"].double()
    z = torch.where((k == 0).view(-1, 1, 1, 1), z + io["real"] / sigmas[0], z)
    x = rollouts.rolled(toy_step(state), rollout, z)
    torch.testing.assert_close(x, io["four_x"].double(), rtol=1e-4, atol=1e-6)


def test_the_sampler_with_new_noise(io: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = [io[f"sample_sde_draw0{i}_randn_like"].double() for i in range(3)]
    monkeypatch.setattr(few_step, "own_noise", lambda z, seed: lambda i: fresh[i - 1])
    state = started(io, use="few-step", sigma_min=0.0, clamp=False)
    x = state.hook.sample(state=state, z=io["sample_sde_z"].double(), labels=None)
    torch.testing.assert_close(x, io["sample_sde_y"].double(), rtol=1e-4, atol=1e-6)


def test_the_sampler_without(io: dict[str, Tensor]) -> None:
    state = started(io, use="euler")
    x = state.hook.sample(state=state, z=io["sample_ode_z"].double(), labels=None)
    torch.testing.assert_close(x, io["sample_ode_y"].double(), rtol=1e-4, atol=1e-6)


def test_their_levels_of_four_steps_are_on_the_grid(io: dict[str, Tensor]) -> None:
    index = torch.linspace(998, 2, 5).round()
    sigmas = torch.cat([rho_grid(1 - index[:-1].double() / 999), torch.zeros(1)])
    torch.testing.assert_close(sigmas, io["edm_default_t_list4"].double(), rtol=1e-3, atol=0)
