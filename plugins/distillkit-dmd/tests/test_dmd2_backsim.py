"""DMD2 with several steps against the numbers of its authors' code for SDXL: both losses, on images of its rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_dmd import dmd, dmd2
from torch import Tensor

from distillkit.testing import replayed, toy_state
from distillkit.train.state import State
from distillkit.train.step import Step

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}
TAGS = ["bs4a", "bs4b", "bs4c", "bs4d", "bs2", "nobs4"]  # images of the first five: tests/train/test_rollout.py
KEYS = {"use": "dmd2", "fake_weight": "eps", "gen_cls_loss_weight": 5e-3, "guidance_cls_loss_weight": 1e-2}
Data = dict[str, Tensor]


@pytest.fixture
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "dmd2_backsim_io.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


class Eps:
    """eps = A sin(x) + B (1 + t / 1000) + c / 20 on the VP schedule, as a denoiser; logits <x, W> + 0.1 as features."""

    def __init__(self, data: Data, of: str = "") -> None:
        self.A, self.B, self.W = (data[name].clone().requires_grad_() for name in (f"A{of}", f"B{of}", "W"))
        self.table = (1 / data["alphas_cumprod"].double() - 1).sqrt()

    def eval(self) -> None:
        pass

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        t = (self.table - sigma.double().view(-1, 1)).abs().argmin(1).view(-1, 1, 1, 1)
        eps = self.A * (x / (1 + sigma**2).sqrt()).sin() + self.B * (1 + t / 1000) + 0.05 * labels.view(-1, 1, 1, 1)
        return x - sigma * eps

    def guided(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        return self(x, sigma, 0 * labels).lerp(self(x, sigma, labels), 8.0)

    def encoder_features(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        return (x / (1 + sigma**2).sqrt() * self.W).flatten(1).sum(1, keepdim=True) + 0.1


@pytest.fixture
def started(data: Data, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, State, Eps]:
    """DMD2 with this fake score, at the noise levels of its schedule in place of EDM's."""
    state = toy_state(dataset={"resolution": 8, "channels": 3, "label_dim": 0}, generator_loss=KEYS)
    loss: Any = state.components["generator_loss"]
    fake = Eps(data, "f")
    loss.fake_score = loss.features = fake
    loss.classifier = lambda maps: maps

    def sigma(step: Any, first: int, last: int) -> Tensor:
        t = (first + step.uniform(0.0, last - first + 1.0)).floor().long().flatten()
        return fake.table[t].float().view(-1, 1, 1, 1)

    for module in (dmd, dmd2):
        monkeypatch.setattr(module, "grid_sigma", sigma)
    return loss, state, fake


def drawn(data: Data, tag: str, *order: str) -> list[Tensor]:
    """t of the named draw in [0,1), or its noise."""
    found = [next(data[key] for key in data if key.startswith(f"{tag}_draw{number}_")) for number in order]
    return [one if one.ndim == 4 else ((one + 0.5) / 1000).view(-1, 1, 1, 1) for one in found]


def late(data: Data, tag: str) -> list[Tensor]:
    """The last four draws of a generator's turn: t and noise of the matching loss, then of the classifier's images."""
    keys = sorted(key for key in data if key.startswith(f"{tag}_g_draw"))[-4:]
    t, n, t_gan, n_gan = (data[key] for key in keys)
    return [((t - 20 + 0.5) / 961).view(-1, 1, 1, 1), n, ((t_gan + 0.5) / 1000).view(-1, 1, 1, 1), n_gan]


@pytest.mark.parametrize("tag", TAGS)
def test_the_generators_loss_and_the_students_gradient_are_the_authors(
    data: Data, started: tuple[Any, State, Eps], tag: str
) -> None:
    loss, state, _ = started
    student, teacher = Eps(data), Eps(data, "t")
    sigma = student.table[data[f"{tag}_timesteps"]].float().view(-1, 1, 1, 1)
    x = student(data[f"{tag}_noisy_input"] * (1 + sigma**2).sqrt(), sigma, data["condition"])
    torch.testing.assert_close(x, data[f"{tag}_x"], rtol=1e-4, atol=1e-4)
    step = replayed(state, late(data, tag), x)
    step.labels = data["condition"]
    total = loss.generator_loss(state=state, step=step, teacher_score=teacher.guided).mean()
    torch.testing.assert_close(total, data[f"{tag}_loss"], **CLOSE)
    records = state.records.means()
    assert records["loss/adversarial"] == pytest.approx(float(data[f"{tag}_gen_cls_loss"]), rel=1e-4)
    matching = total - 5e-3 * records["loss/adversarial"]
    torch.testing.assert_close(matching, data[f"{tag}_loss_dm"], **CLOSE)
    at_A, at_B = torch.autograd.grad(total, (student.A, student.B))
    torch.testing.assert_close(at_A, data[f"{tag}_grad_A"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(at_B, data[f"{tag}_grad_B"], rtol=1e-4, atol=1e-5)


def test_the_critics_loss_and_its_gradients_are_the_authors(
    data: Data, started: tuple[Any, State, Eps], monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, state, fake = started
    monkeypatch.setattr(Step, "real_labels", data["real_condition"])
    step = replayed(state, drawn(data, "bs4a_d", "01", "00", "04", "05", "02", "03"), data["bs4a_x"], data["real"])
    step.labels = data["condition"]
    total = loss.critic_loss(state=state, step=step).mean()
    torch.testing.assert_close(total, data["bs4a_d_loss"], **CLOSE)
    assert state.records.means()["loss/classifier"] == pytest.approx(float(data["bs4a_d_cls"]), rel=1e-4)
    denoising = total - 1e-2 * state.records.means()["loss/classifier"]
    torch.testing.assert_close(denoising, data["bs4a_d_loss_fake"], **CLOSE)
    for found, want in zip(torch.autograd.grad(total, (fake.A, fake.B, fake.W)), ("Af", "Bf", "W"), strict=True):
        torch.testing.assert_close(found, data[f"bs4a_d_grad_{want}"], rtol=1e-4, atol=1e-5)
