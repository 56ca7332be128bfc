"""MeanFlow and improved MeanFlow against the reference's numbers, and what their equations promise."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from distillkit_meanflow.flow import rate, velocity
from meanflow_stubs import (
    CLOSE,
    Data,
    Stub,
    TwoHeads,
    draws,
    grad,
    meanflow_step,
    numbers,
    onto_path,
    parts,
    ready,
    replay,
    watched,
)
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.testing import toy_state

CIFAR = {"t_mean": -0.6, "t_std": 1.6, "r_mean": -4.0, "r_std": 1.6, "ratio": 0.75, "p": 0.75, "c": 1e-3}
FASTGEN = {"t_max": 0.999, "rows": "first"}
LATENTS = {"ratio": 0.25, "label_dropout": 0.1, **FASTGEN}
TAGS: dict[str, dict[str, Any]] = {
    "cifar": {**CIFAR, **FASTGEN},
    "ditb": {"kappa": 0.5, **LATENTS},
    "ditxl": {"omega": 0.2, "kappa": 0.92, "t_end": 0.75, **LATENTS},
    "optgrad": {**CIFAR, **FASTGEN, "form": "tangent", "p": 1.0, "c": 0.1},
    "optgrad_inv_warm": {**CIFAR, **FASTGEN, "form": "tangent", "per_pixel": True, "warmup_kimg": 10.0},
    "cd_cfg": {**CIFAR, **FASTGEN, "velocity": "teacher"},
    "fd": {**CIFAR, **FASTGEN, "h": 1e-4},
    "exp": {**CIFAR, **FASTGEN, "weight": "exponential", "p": 0.5},
    "py_v0": {**CIFAR, "t_mean": -2.0, "t_std": 2.0, "r_mean": -2.0, "r_std": 2.0},
    "py_v1": {**CIFAR, "order": "clipped"},
}
IMF_TAGS: dict[str, dict[str, Any]] = {
    "default": {}, "beta2": {"beta": 2.0}, "prop25": {"ratio": 0.75, "label_dropout": 0.4},
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> dict[str, Data]:
    return numbers()


@pytest.mark.parametrize("tag", TAGS)
def test_meanflows_loss_and_its_gradients_are_the_references(data: dict[str, Data], tag: str) -> None:
    io = data["meanflow"]
    student, teacher = Stub(io["A"], io["B"]), Stub(io["At"], io["Bt"]).requires_grad_(False)
    loss, state = ready("meanflow", TAGS[tag], student)

    def guided(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        D, without = teacher(x, sigma, labels), teacher(x, sigma)
        return torch.where(sigma <= 1, without + 1.5 * (D - without), D)

    step = meanflow_step(io, tag)
    made = watched(step)
    found = loss.generator_loss(state, step, guided)
    found.mean().backward()
    assert student.calls[-1] and (loss.config.h or not any(student.calls[:-1])), "what learns alone has dropout"
    made |= parts(loss, state, meanflow_step(io, tag), made)
    made |= {"cond_used": student.told, "loss_per_image": found.detach(), "total_loss": found.detach().mean()}
    made |= {"loss": made["total_loss"], "grad_A": grad(student.A), "grad_B": grad(student.B)}
    near = {"rtol": 1e-3, "atol": 1e-3} if tag == "fd" else CLOSE  # their differences are of float32
    for name, one in made.items():
        if (want := io.get(f"{tag}_{name}")) is not None:
            largest = want.abs().max()  # the weights of `exp` are e^-100
            torch.testing.assert_close(one.view_as(want) / largest, want / largest, **near)


@pytest.mark.parametrize("tag", IMF_TAGS)
def test_improved_meanflows_loss_and_its_gradients_are_the_references(data: dict[str, Data], tag: str) -> None:
    io, n = data["imf"], len(data["imf"]["images"])
    student = TwoHeads(io)
    loss, state = ready("imf", {"rows": "first", **IMF_TAGS[tag]}, student)
    t, r, noise, t_min, t_max, omega, dropped = draws(io, tag)
    same = (torch.arange(n) >= n * (1 - loss.config.ratio)).double().view(-1, 1, 1, 1) * 0.999  # there not drawn
    labels = torch.eye(int(io["num_classes"]), dtype=torch.float64)[io["labels"].long()]
    step = replay([t, r, same, noise, 2 * t_min, 2 * t_max - 1, omega, dropped], io["images"], labels)
    state.record = lambda name, value: errors.update({name: value / io["images"][0].numel()})
    errors: Data = {}
    found = loss.generator_loss(state, step).mean()
    found.backward()
    for name in ("loss", "log_loss"):
        torch.testing.assert_close(found, io[f"{tag}_{name}"], **CLOSE)
    for name, logged in (("average", "u"), ("velocity", "v")):
        torch.testing.assert_close(errors[f"error/{name}"], io[f"{tag}_log_loss_{logged}"], **CLOSE)
    for name, p in student.named_parameters():
        torch.testing.assert_close(p.grad, io[f"{tag}_grad_{name}"], **CLOSE)


# A Gaussian flow, N(0, S^2): z_t = s(t) z_0 / S, s^2 = (1 - t)^2 S^2 + t^2, so z_r / z_t = s(r) / s(t).

S = 0.7


class GaussianMap(nn.Module):
    """D of the exact flow map, times a weight that is 1."""

    sigma_min, sigma_max = 0.0, float("inf")

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, r: Any = None) -> Tensor:
        def s(t: Tensor) -> Tensor:
            return (((1 - t) * S) ** 2 + t**2).sqrt()

        z, t, r = onto_path(x, sigma, r)
        at_t = z * (t - (1 - t) * S**2) / s(t) ** 2  # velocity of the flow
        apart = (t - r > 1e-9) * (t - r) + (t - r <= 1e-9)
        u = torch.where(t - r > 1e-9, z * (1 - s(r) / s(t)) / apart, at_t)
        return z - t * self.a * u


def gaussian_step(n: int = 6) -> Any:
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(n, 1, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2)]
    same = torch.tensor([0.0, 0.99] * (n // 2), dtype=torch.float64).view(n, 1, 1, 1)
    noise, real = (torch.randn(n, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    return replay([*drawn, same, noise], S * real)


@pytest.mark.parametrize(
    ("form", "h", "weight"),
    [("regression", None, "power"), ("tangent", None, "power"), ("regression", 1e-4, "exponential")],
)
def test_the_exact_flow_map_of_a_gaussian_has_nothing_to_learn_from_its_teacher(
    form: str, h: float | None, weight: str
) -> None:
    student = GaussianMap()
    keys = {"velocity": "teacher", "t_mean": 0.3, "r_mean": -1.0, "ratio": 0.5, "form": form, "h": h, "weight": weight}
    loss, state = ready("meanflow", keys, student)
    found = loss.generator_loss(state, gaussian_step(), student)
    found.sum().backward()
    assert float(found.detach().abs().max()) < (1e-12 if h else 1e-20)  # h^2 is the error of a difference
    assert student.a.grad is not None and abs(float(student.a.grad)) < (1e-6 if h else 1e-10)
    student.a.data.mul_(1.1)  # another map has
    teacher = GaussianMap()
    assert bool((loss.generator_loss(state, gaussian_step(), teacher) > 1e-6).all())


def test_what_one_image_says_of_the_flow_is_right_on_the_average() -> None:
    """From scratch, the gradient at the exact map vanishes in the mean over images and noise."""
    student = GaussianMap()
    n = 40_000
    generator = torch.Generator().manual_seed(0)
    y, noise = (torch.randn(n, 1, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    t, r = torch.full_like(y, 0.6), torch.full_like(y, 0.2)
    z, v = (1 - t) * S * y + t * noise, noise - S * y

    def average(z: Tensor, t: Tensor) -> Tensor:
        return velocity(student, z, t, None, r)

    step = replay([], y)
    at_flow = rate(step, average, z, velocity(student, z, t, None), t)[1]
    du = rate(step, average, z, v, t)[1]
    u = velocity(student, z, t, None, r)
    assert float((v - (t - r) * du - u).mul(z).detach().mean()) == pytest.approx(0, abs=0.02)
    torch.testing.assert_close(velocity(student, z, t, None) - (t - r) * at_flow, u)


def test_r_is_below_t_or_the_same_in_the_share_that_was_asked_for() -> None:
    for order in ("sorted", "clipped"):
        loss, state = ready("meanflow", {"ratio": 0.25, "order": order, "t_max": 0.9}, nn.Identity())
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(4000, 1, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2)]
        step = replay([*drawn, torch.rand(4000, 1, 1, 1, generator=generator, dtype=torch.float64)])
        t, r = loss.config.draw(state, step)
        assert bool((r <= t).all()) and bool((r > 0).all()) and float(t.max()) < 0.9
        below = float((r < t).double().mean())
        assert below == pytest.approx(0.25 if order == "sorted" else 0.125, abs=0.03)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        (
            {"generator_loss": {"use": "meanflow", "velocity": "teacher"}, "teacher_score": {"remove": True}},
            "teacher_score",
        ),
        ({"generator_loss": {"use": "meanflow", "kappa": 0.5}, "dataset": {"label_dim": 0}}, "the data set has none"),
        ({"generator_loss": {"use": "meanflow", "t_start": 0.8, "t_end": 0.2}}, "no time would be guided"),
        ({"generator_loss": {"use": "meanflow", "weight": "exponential", "c": 100.0}}, "would count e\\^c"),
        ({"generator_loss": {"use": "meanflow", "h": 1e-8}}, "generator_loss.h"),
        ({"generator_loss": {"use": "imf"}}, "guided-flow-map"),
    ],
)
def test_what_does_not_fit_is_refused(tables: dict[str, Any], told: str) -> None:
    network = {"init": "scratch", "network": {"use": "mlp", "width": 8, "depth": 1}}
    with pytest.raises(UsageError, match=told):
        toy_state(generator=network, **tables)


def test_the_pair_of_heads_is_one_pass_and_guidance_is_an_input() -> None:
    inner = {"use": "mlp", "width": 8, "depth": 1, "second_time": True}
    state = toy_state(
        generator={"init": "scratch", "network": {"use": "guided-flow-map", "network": inner}},
        generator_loss={"use": "imf"},
    )
    net = cast(Any, state.generator)
    nn.init.normal_(net.inner.out.weight)
    x, sigma = torch.randn(2, *state.dataset.shape), torch.ones(2, 1, 1, 1)
    sampled = net(x, sigma, r=0.0)
    for guidance, same in (([7.5, 0.4, 0.65], True), ([1.0, 0.4, 0.65], False), ([7.5, 0.0, 0.65], False)):
        found = net.heads(x, sigma, None, 0.0, torch.tensor([guidance, guidance]))[0]
        assert torch.equal(found, sampled) is same
    with pytest.raises(UsageError, match="second_time = true"):
        toy_state(
            generator={"init": "scratch", "network": {"use": "guided-flow-map", "network": {"use": "mlp"}}},
            generator_loss={"use": "imf"},
        )
    with pytest.raises(UsageError, match="no time would be guided"):
        guided = {"use": "guided-flow-map", "network": inner, "t_min": 0.9, "t_max": 0.1}
        toy_state(generator={"init": "scratch", "network": guided}, generator_loss={"use": "imf"})
