"""rCM against its authors' numbers, and what its equations promise: both parts at rest at the true student."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from distillkit_scm.levels import noise_share
from distillkit_scm.rcm import Rcm
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import Rollout, UsageError
from distillkit.testing import replayed, toy_state
from distillkit.testing.toys import toy_step
from distillkit.train.iterate import due
from distillkit.train.state import State

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
JVP: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
ROLLOUT: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}
FAR = 1e9  # tan of what is nearly a right angle: where a rollout begins
Data = dict[str, Tensor]


@pytest.fixture(scope="module")
def data() -> Data:
    """The authors' numbers; images are [N,C,1,H,W] there, one frame."""
    with np.load(Path(__file__).parent / "data" / "rcm_io.npz") as data:
        found = {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}
    return {key: one.squeeze(-3) if one.ndim >= 4 else one for key, one in found.items()}


class Flow(nn.Module):
    """v = A sin(x) + B (1 + t') + c / 20 at time t' of a straight path, as a denoiser with S = 1."""

    sigma_min, sigma_max, sigma_data = 0.0, math.inf, 1.0
    compute_dtype: Any = None

    def __init__(self, data: Data, of: str = "") -> None:
        super().__init__()
        self.A, self.B = (nn.Parameter(data[f"{name}{of}"].double()) for name in "AB")

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        x, t = x / (1 + sigma), sigma / (1 + sigma)
        labels = -x.new_ones(1) if labels is None else labels
        v: Tensor = self.A * x.sin() + self.B * (1 + t) + 0.05 * labels.view(-1, 1, 1, 1)
        return x - t * v

    def guided(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.lerp(self(x, sigma, None), self(x, sigma, labels), 5.0)


def ready(iteration: int = 5000, S: float = 1.0, sigmas: tuple[float, ...] = (FAR,), **keys: Any) -> tuple[Rcm, State]:
    """The method as the engine has set it up, at an iteration."""
    state = toy_state(
        dataset={"resolution": 8, "channels": 3, "label_dim": 0}, generator_loss={"use": "rcm", **keys},
        sample={"use": "few-step", "sigmas": list(sigmas)}, run={"precision": "fp64", "batch": 4, "kimg": 100},
    )  # fmt: skip
    state.iteration, state.nimg = iteration, 4 * iteration
    loss = cast(Rcm, state.components["generator_loss"])
    loss.S = S
    return loss, state


def angles(t: Tensor) -> Tensor:
    return t.double().tan().view(-1, 1, 1, 1)


# The tangent.


@pytest.mark.parametrize("tag", ["scm_it0", "scm_it300", "scm_it5000", "scm_noguid"])
def test_the_tangents_loss_and_its_gradients_are_the_authors(data: Data, tag: str) -> None:
    loss, state = ready(int(tag[6:]) if tag[6:].isdigit() else 5000)
    student, teacher = Flow(data), Flow(data, "t")
    state.generator = cast(Any, student)
    draws = [data[f"{tag}_draw00_randn"].view(-1, 1, 1, 1), data[f"{tag}_draw01_randn"]]
    step = replayed(state, draws, real=data["x0"].double(), turn="warmup")
    cast(Any, step).labels = data["condition"].double()
    teacher_score = teacher if tag == "scm_noguid" else teacher.guided
    value = loss.generator_loss(state=state, step=step, teacher_score=cast(Any, teacher_score))
    torch.testing.assert_close(value, data[f"{tag}_loss"], **JVP)
    found = torch.autograd.grad(value.mean(), (student.A, student.B))
    for one, name in zip(found, "AB", strict=True):
        torch.testing.assert_close(one, data[f"{tag}_grad_{name}"].double(), **JVP)


class Map(nn.Module):
    """The consistency function of N(0.3, 0.4), with `off` times its variance; 1: the true one."""

    sigma_min, sigma_max, sigma_data = 0.0, math.inf, 0.5
    compute_dtype: Any = None

    def __init__(self, off: float = 1.0) -> None:
        super().__init__()
        self.m, self.off = nn.Parameter(torch.tensor(0.3, dtype=torch.float64)), off

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        v = 0.4 * self.off
        return self.m + (x - self.m) * (v / (v + sigma**2)).sqrt()


def denoised(x: Tensor, sigma: Tensor, labels: Tensor | None = None, v: float = 0.4) -> Tensor:
    """D of N(0.3, v)."""
    return (v * x + sigma**2 * 0.3) / (v + sigma**2)


@pytest.mark.parametrize(("off", "level"), [(1.0, 0.0), (4.0, 0.1)])
def test_the_tangent_is_zero_at_the_true_consistency_function_alone(off: float, level: float) -> None:
    loss, state = ready(S=0.5)
    state.generator = student = cast(Any, Map(off))
    step = replayed(state, [torch.randn(64, 1, 1, 1), torch.randn(64, 3, 8, 8)], real=torch.randn(64, 3, 8, 8).double())
    value = loss.consistency(state, step, cast(Any, denoised))
    tangent = state.records.means()["rcm/tangent"]
    assert tangent < 1e-10 if level == 0 else tangent > level
    largest = float(torch.autograd.grad(value.mean(), student.m)[0].abs())
    assert largest < 1e-9 if level == 0 else largest > 1e-4


def test_while_r_rises_the_derivative_of_F_counts_in_full_and_the_rest_by_r() -> None:
    """(c) as TrigFlow has it, with dF/dtheta by central differences, and S other than 1."""
    loss, state = ready(iteration=400, S=0.5)
    student = Map(4.0)
    state.generator = cast(Any, student)
    e, n, y = torch.randn(8, 1, 1, 1).double(), torch.randn(8, 3, 8, 8).double(), torch.randn(8, 3, 8, 8).double()
    loss.consistency(state, replayed(state, [e, n], real=y), cast(Any, denoised))
    theta, r = (0.7 + 1.6 * e).exp().atan(), 0.4
    x = theta.cos() * y + theta.sin() * 0.5 * n

    def F(x: Tensor, theta: Tensor, of: Any = student) -> Tensor:
        """S F."""
        D = of(x / theta.cos(), 0.5 * theta.tan())
        return cast(Tensor, (theta.cos() * x - D) / theta.sin())

    v, h = F(x, theta, denoised), 1e-6
    cos, sin = theta.cos(), theta.sin()
    along = h * cos * sin
    dF = (F(x + along * v, theta + along) - F(x - along * v, theta - along)) / (2 * h)
    g = -cos * (1 - r**2 * sin**2).sqrt() * (F(x, theta) - v) - r * cos * sin * x - dF
    want = g.detach().flatten(1).norm(dim=1).mean()
    assert state.records.means()["rcm/tangent"] == pytest.approx(float(want), rel=1e-5)


# Rollouts and the matching loss.


def rolled(data: Data, tag: str, monkeypatch: pytest.MonkeyPatch, turn: str, fixed: bool = False) -> Any:
    """The method in a turn of the recorded iteration: its images from the recorded draws, and the loss's own two."""
    iteration = int(tag.split("_it")[1]) if "_it" in tag else 1015
    sigmas = (FAR, *torch.tensor([1.5, 1.4, 1.0]).double().tan().tolist())
    loss, state = ready(iteration, fixed_levels=fixed, sigmas=sigmas)
    draws = [data[key] for key in sorted(data) if key.startswith(f"{tag}_draw")]
    *rest, u, n = draws
    z, rest = rest[0], rest[1:]
    steps = int(data[f"{tag}_n_student_calls"])
    times, noises = rest[: len(rest) - steps + 1], [z, *rest[len(rest) - steps + 1 :]]

    def rows(kind: str, seed: int, stream: str, first: int, n: int, shape: Any, device: Any = "cpu") -> Tensor:
        if kind == "rand":
            return times[int(stream[-1]) - 1].view(-1, 1, 1, 1)
        return noises[-1] if stream.endswith("/z") else noises[int(stream[-1])]

    monkeypatch.setattr(noise, "rows", rows)
    state.generator, loss.fake_score = cast(Any, Flow(data)), cast(Any, Flow(data, "f"))
    step = replayed(state, [u.view(-1, 1, 1, 1), n], turn=turn)
    step.n, step.labels = 4, data["condition"].double()
    step.trains_generator = turn == "generator"
    torch.testing.assert_close(step.x.detach(), data[f"{tag}_G_x0"].double(), **ROLLOUT)
    return loss, state, step


@pytest.mark.parametrize("tag", ["dmd_it1000", "dmd_it1005", "dmd_it1010", "dmd_it1015", "dmd_fixed"])
def test_images_and_the_matching_loss_are_the_authors(data: Data, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    loss, state, step = rolled(data, tag, monkeypatch, "generator", tag == "dmd_fixed")
    value = loss.matching(step, cast(Any, Flow(data, "t").guided))
    torch.testing.assert_close(value.detach(), data[f"{tag}_loss"], **ROLLOUT)
    value.mean().backward()
    step.backward()  # through the last call alone
    for p, name in ((state.generator.A, "A"), (state.generator.B, "B")):
        torch.testing.assert_close(p.grad, data[f"{tag}_grad_{name}"].double(), **ROLLOUT)


@pytest.mark.parametrize("tag", ["critic_it1001", "critic_it1003"])
def test_the_fake_scores_loss_is_the_authors(data: Data, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    loss, _, step = rolled(data, tag, monkeypatch, "fake_score")
    value = loss.critic_loss(step)
    torch.testing.assert_close(value, data[f"{tag}_loss"], **ROLLOUT)
    found = torch.autograd.grad(value.mean(), (loss.fake_score.A, loss.fake_score.B))
    for one, name in zip(found, "AB", strict=True):
        torch.testing.assert_close(one, data[f"{tag}_grad_{name}"].double(), **ROLLOUT)


def test_the_matching_loss_has_no_gradient_where_both_scores_are_those_of_what_is_generated() -> None:
    loss, state = ready(S=0.5, sigmas=(80.0,))
    for v, still in ((0.4, True), (0.5, False)):
        loss.fake_score = fake = cast(Any, nn.Module())
        fake.forward = lambda x, sigma, labels, v=v: denoised(x, sigma, v=v)
        x = torch.randn(16, 3, 8, 8).double().requires_grad_()
        step = replayed(state, [torch.rand(16, 1, 1, 1), torch.randn(16, 3, 8, 8)], x=x)
        loss.matching(step, cast(Any, denoised)).sum().backward()
        assert x.grad is not None and (float(x.grad.abs().max()) == 0) == still


# Turns and times.


def test_turns_and_numbers_of_calls_are_the_authors(data: Data) -> None:
    loss, state = ready()
    for iteration, student, fake, of_student in data["effective_iterations"].tolist():
        state.iteration, state.nimg = iteration, 4 * iteration
        taken = [turn.name for turn in state.turns if due(state, turn)]
        assert taken == [("warmup" if iteration < 1000 else "generator") if of_student else "fake_score"]
        step = toy_step(state, turn=taken[0])
        assert loss.calls(state, step) == (student if of_student else fake) % 4 + 1


def test_times_are_the_authors(data: Data) -> None:
    loss, _ = ready()
    u = data["dmd_it1000_draw01_rand"].double().view(-1, 1, 1, 1)
    torch.testing.assert_close(loss.levels(u), angles(data["dmd_it1000_D_time"]), **CLOSE)
    assert loss.levels(torch.zeros(1)).item() > 0
    t = data["trig_t"]
    sin2, cos2 = noise_share(t.tan(), 1.0)
    total = sin2.sqrt() + cos2.sqrt()
    torch.testing.assert_close(t.tan() / (1 + t.tan()), data["trig_to_rf"], **CLOSE)
    torch.testing.assert_close(1 / total, data["scaling_c_skip"], **CLOSE)
    torch.testing.assert_close(-sin2.sqrt() / total, data["scaling_c_out"], **CLOSE)
    torch.testing.assert_close(1000 * sin2.sqrt() / total, data["scaling_c_noise"], **CLOSE)


def test_drawn_levels_never_rise_and_are_those_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, state = ready(1015, sigmas=(2.0,))
    asked: list[Tensor] = []
    network = state.generator

    class Watched(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor, labels: Any = None) -> Tensor:
            asked.append(sigma)
            return cast(Tensor, cast(Any, network)(x, sigma, labels))

    state.generator = cast(Any, Watched())
    x = toy_step(state, turn="generator").x
    assert len(asked) == 4 and all(bool((b <= a).all()) for a, b in pairwise(asked))
    assert asked[0].unique().item() == 2.0 and len(asked[-1].unique()) > 1
    part = toy_step(state, turn="generator", first=2, n=2).x
    torch.testing.assert_close(part, x[2:], rtol=1e-12, atol=1e-12)
    assert isinstance(loss.rollout, Rollout)


def test_a_sampler_without_the_steps_is_refused() -> None:
    with pytest.raises(UsageError, match="4 or more sigmas"):
        ready(fixed_levels=True, sigmas=(80.0,))
    loss: Any = toy_state(generator_loss={"use": "rcm"}, sample={"use": "one-step", "sigma_init": 2.5}).components
    assert loss["generator_loss"].rollout.sigmas == (2.5,)
