"""RealUID against the authors' numbers, and what its equations promise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from distillkit_realuid.realuid import RealUid, misfit
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.testing import replayed, toy_state
from distillkit.train.state import State

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
Data = dict[str, Tensor]
UNET = {"use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": []}
PAIRS = [(1.0, 1.0), (0.92, 0.94), (0.98, 0.96), (0.9, 0.88)]


class Flow(nn.Module):
    """u = A sin(x_t) + B (1 + t) + 0.05 label, as a denoiser."""

    sigma_min, sigma_max = 0.0, float("inf")

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.A, self.B = nn.Parameter(A.clone()), nn.Parameter(B.clone())

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        t = 1 / (1 + sigma)
        x_t = t * x
        u = self.A * x_t.sin() + self.B * (1 + t)
        if labels is not None:
            u = u + 0.05 * labels.view(-1, 1, 1, 1)
        return x_t + (1 - t) * u


@pytest.fixture
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "realuid_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def ready(data: Data, alpha: float, beta: float, **keys: Any) -> tuple[RealUid, State]:
    """The method as the engine has set it up, and then the reference's fake flow in its place."""
    state = toy_state(
        dataset={"resolution": 8, "channels": 3, "label_dim": 0},
        generator_loss={"use": "realuid", "alpha": alpha, "beta": beta, **keys},
    )
    loss = cast(RealUid, state.components["generator_loss"])
    loss.fake_score = cast(Any, Flow(data["A"], data["B"]))
    loss.times = 0.0, 1.0
    return loss, state


def step(state: State, data: Data, x: Tensor) -> Any:
    """The recorded t and x0; labels are class numbers in this reference."""
    made = replayed(state, [data["t"].view(-1, 1, 1, 1), data["x0"]], x)
    made.real, made.labels, made.same_images_as = data["x_data"], data["y"][:, None], made.turn
    return made


@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
def test_the_generator_loss_and_its_gradient_are_the_references(data: Data, alpha: float, beta: float) -> None:
    loss, state = ready(data, alpha, beta)
    x = data["x_gen"].clone().requires_grad_()
    teacher = Flow(data["At"], data["Bt"]).requires_grad_(False)
    total = loss.generator_loss(step(state, data, x), cast(Any, teacher)).mean()
    total.backward()
    tag = f"a{alpha:g}_b{beta:g}_gen"
    torch.testing.assert_close(total, data[f"{tag}_loss"], **CLOSE)
    torch.testing.assert_close(x.grad, data[f"{tag}_grad_x"], **CLOSE)


@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
def test_the_fake_flows_loss_and_its_gradients_are_the_references(data: Data, alpha: float, beta: float) -> None:
    loss, state = ready(data, alpha, beta)
    total = loss.critic_loss(state, step(state, data, data["x_gen"])).mean()
    tag, fake = f"a{alpha:g}_b{beta:g}_fake", cast(Any, loss.fake_score)
    (-total).backward()  # the code maximises it
    torch.testing.assert_close(-total, data[f"{tag}_loss"], **CLOSE)
    torch.testing.assert_close(fake.A.grad, data[f"{tag}_grad_A"], **CLOSE)
    torch.testing.assert_close(fake.B.grad, data[f"{tag}_grad_B"], **CLOSE)


@pytest.mark.parametrize(("form", "relative"), [("standard", False), ("beta", True)])
def test_the_codes_general_form_is_the_same_but_for_a_constant(data: Data, form: str, relative: bool) -> None:
    """Written as a difference of the two networks (`general_dist_loss`), with alpha = 0.92 and beta = 0.94."""
    loss, state = ready(data, 0.92, 0.94, relative=relative)
    x, teacher = data["x_gen"].clone().requires_grad_(), Flow(data["At"], data["Bt"]).requires_grad_(False)
    total = loss.generator_loss(step(state, data, x), cast(Any, teacher)).mean()
    total.backward()
    torch.testing.assert_close(total, data[f"general_{form}_gen_loss"], **CLOSE)
    torch.testing.assert_close(x.grad, data[f"general_{form}_gen_grad_x"], **CLOSE)
    fake, of_teacher = cast(Any, loss.fake_score), cast(Any, teacher)
    seen: Any = SimpleNamespace(teacher_score=teacher)
    error = loss.critic_loss(seen, step(state, data, data["x_gen"])).mean()
    at_A, at_B = torch.autograd.grad(-error, (fake.A, fake.B))
    loss.fake_score = of_teacher
    constant = loss.critic_loss(seen, step(state, data, data["x_gen"])).mean()
    torch.testing.assert_close(constant - error, data[f"general_{form}_fake_loss"], **CLOSE)
    torch.testing.assert_close(at_A, data[f"general_{form}_fake_grad_A"], **CLOSE)
    torch.testing.assert_close(at_B, data[f"general_{form}_fake_grad_B"], **CLOSE)


def test_a_fake_flow_that_is_the_teacher_leaves_nothing_to_learn(data: Data) -> None:
    loss, state = ready(data, 0.92, 0.94)
    x = data["x_gen"].clone().requires_grad_()
    value = loss.generator_loss(step(state, data, x), loss.fake_score)
    value.sum().backward()
    assert not value.any() and x.grad is not None
    torch.testing.assert_close(x.grad, torch.zeros_like(x), rtol=0, atol=1e-6)


def gaussian(mean: float, variance: float) -> Any:
    """The denoiser of N(mean, variance) in closed form."""

    def D(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return (variance * x + sigma**2 * mean) / (variance + sigma**2)

    return D


def test_without_data_the_gradient_pulls_a_gaussian_to_the_teachers(data: Data) -> None:
    """x = m + s z of N(m, s^2), its own fake flow in closed form: descent in m and s ends at the teacher's."""
    m, s = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (1.0, 0.3))
    generator = torch.Generator().manual_seed(0)
    z, n = (torch.randn(4096, 1, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    t = torch.rand(4096, 1, 1, 1, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    for _ in range(200):
        fake = gaussian(m.item(), s.item() ** 2)
        x = m + s * z
        loss = (misfit(gaussian(0.0, 1.0), x, n, t, None, 1.0) - misfit(fake, x, n, t, None, 1.0)).mean()
        for p, g in zip((m, s), torch.autograd.grad(loss, (m, s)), strict=True):
            p.data -= 0.05 * g
    assert abs(m.item()) < 0.05 and abs(s.item() - 1) < 0.05


def test_five_updates_of_the_fake_flow_come_before_each_of_the_generator() -> None:
    state = toy_state(generator_loss={"use": "realuid"})
    fake, generator = state.turns
    assert (fake.every, generator.every, generator.first) == (1, 5, 4)


def test_times_are_those_whose_noise_the_networks_know() -> None:
    state = toy_state(generator_loss={"use": "realuid"})
    low, high = cast(RealUid, state.components["generator_loss"]).times
    net = state.networks["fake_flow"]
    assert low == pytest.approx(1 / (1 + cast(Any, net).sigma_max))
    assert high == pytest.approx(1 / (1 + cast(Any, net).sigma_min))


@pytest.mark.parametrize("t", [0.0, 1 - 1e-7])
def test_the_very_ends_of_the_path_give_finite_numbers(data: Data, t: float) -> None:
    loss, state = ready(data, 0.92, 0.94)
    x = data["x_gen"].clone().requires_grad_()
    draws = [torch.full((4, 1, 1, 1), t), data["x0"]]
    made = replayed(state, draws, x)
    made.labels = data["y"][:, None]
    loss.generator_loss(made, cast(Any, Flow(data["At"], data["Bt"]))).sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"beta": 0.9}, "beta"),
        ({"t_min": 0.6, "t_max": 0.5}, "t_min"),
        ({"t_max": 1e-6}, "no times from 0 to 1e-06"),  # 1e-5 is the least
        ({"t_min": 0.999999}, "no times from 0.999999 to 1"),
        ({"t_max": 0.01, "fake_flow": {**UNET, "sigma_max": 80.0}}, "no times from 0.0123457 to 0.01"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        toy_state(generator_loss={"use": "realuid", **keys})
