"""sCT and sCD against the reference's numbers, and what their equations promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from distillkit_scm.levels import noise_share, rise, truncated_lognormal
from distillkit_scm.scm import Scm
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.testing import replayed, toy_state
from distillkit.train.state import State

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-7}
JVP: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-6}
Data = dict[str, Tensor]
S = 0.5
PLAIN = {"per_pixel": False, "prior": False}
CASES: dict[str, dict[str, Any]] = {
    "sct_it0": {}, "sct_it2500": {}, "sct_it20000": {}, "sct_max800": {"sigma_max": 800.0}, "sct_plain": PLAIN,
    "scd_it2500": {}, "scd_it20000": {}, "scd_cfg": {},
}  # fmt: skip


class Stub(nn.Module):
    """D = A sin(x) + B (1 + 0.1 ln sigma) + 0.05 label."""

    sigma_min, sigma_max, sigma_data = 0.0, float("inf"), S
    compute_dtype: Any = None

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.A, self.B = nn.Parameter(A.clone()), nn.Parameter(B.clone())

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        D = self.A * x.sin() + self.B * (1 + 0.1 * sigma.log())
        return D if labels is None else D + 0.05 * labels.view(-1, 1, 1, 1)


class Given(nn.Module):
    """u, one number an image."""

    def __init__(self, u: Tensor) -> None:
        super().__init__()
        self.u = nn.Parameter(u.clone())

    def forward(self, sigma: Tensor) -> Tensor:
        return self.u.view(-1, 1, 1, 1)


@pytest.fixture(scope="module")
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "scm_io.npz") as data:
        return {key: torch.from_numpy(data[key]) for key in data.files}


def ready(method: str, iteration: float = 1.0, **keys: Any) -> tuple[Scm, State]:
    """The method as the engine has set it up, r being min(1, iteration)."""
    C = {"sigma_max": 80.0, "warmup_kimg": 1.0, **keys}
    state = toy_state(
        dataset={"resolution": 8, "channels": 3, "label_dim": 0}, generator_loss={"use": method, **C},
        run={"precision": "fp64"},
    )  # fmt: skip
    state.nimg = round(1000 * iteration)
    return cast(Scm, state.components["generator_loss"]), state


def replay(data: Data, tag: str, like: str = "", jvp: Any = None, **keys: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses of the images of `tag`, after their gradients and all that led to them were compared with `like`'s."""
    loss, state = ready(tag[:3], float(data[f"{tag}_warmup"]), **CASES.get(tag, {}), **keys)
    student, u = Stub(data["A"].double(), data["B"].double()), Given(data["logvar"].double())
    state.generator, loss.head = cast(Any, student), cast(Any, u)
    teacher = Stub(data["At"].double(), data["Bt"].double()).requires_grad_(False)

    def guided(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        D, none = teacher(x, sigma, labels), teacher(x, sigma, data["neg_condition"])
        guided: Tensor = D + 0.5 * (D - none)
        return guided

    draws = [data[f"{tag}_draw00_rand"].view(-1, 1, 1, 1), data[f"{tag}_draw01_randn_like"]]
    step = cast(Any, replayed(state, draws, real=data["real"].double()))
    step.labels = data["condition"][:, None]
    made, plain = {}, jvp or step.jvp

    def watched(f: Any, at: Any, along: Any, ends: Any = None) -> tuple[Tensor, Tensor]:
        D, dD = plain(f, at, along, ends)
        x, s = at
        made.update(trigflow(x, s, along[0], D.detach(), dD))
        return D, dD

    step.jvp = watched
    value = loss.generator_loss(state, step, cast(Any, guided if tag == "scd_cfg" else teacher))
    like = like or tag
    torch.testing.assert_close(value, data[f"{like}_loss_per_image"], **JVP)
    value.mean().backward()
    torch.testing.assert_close(value.mean(), data[f"{like}_total_loss"], **JVP)
    for name, p in (("A", student.A), ("B", student.B), ("logvar", u.u)):
        torch.testing.assert_close(p.grad, data[f"{like}_grad_{name}"].double(), **JVP)
    scale = 1 if tag == "sct_plain" else made["t"].flatten() * data["real"][0].numel()
    made["unweighted"] = (value.detach() - u.u.detach().flatten()) * u.u.detach().flatten().exp() * scale
    return value, made


def trigflow(x: Tensor, s: Tensor, apart: Tensor, D: Tensor, dD: Tensor) -> dict[str, Tensor]:
    """What they call what is here x, s, x - D_*, D and dD/dln s."""
    theta = (s / S).atan()
    sin, cos = theta.sin(), theta.cos()
    v, V = ((cos**2 * x - one) / sin for one in (x - apart, D))
    dV = (cos * sin * (cos * (v - V) - sin * cos * x) - dD) / sin
    return {"t": s, "t_hat": theta, "x_t_hat": cos * x, "dxt_dt": v, "F_theta": V / S, "F_theta_jvp": dV / S}


@pytest.mark.parametrize("tag", CASES)
def test_the_loss_and_its_gradients_are_the_references(data: Data, tag: str) -> None:
    for name, found in replay(data, tag)[1].items():
        want = data[f"{tag}_{name}"].double()
        torch.testing.assert_close(found.view_as(want), want, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("tag", ["sct_it2500", "scd_it20000"])
def test_by_differences_the_loss_is_the_same(data: Data, tag: str) -> None:
    exact, found = replay(data, tag)[0], replay(data, tag, h=1e-3)[0]
    assert not torch.equal(exact, found)


def test_the_references_differences_follow_the_path_of_the_data(data: Data) -> None:
    """Not the teacher's, as sCD's tangent needs: with them the loss is that of `scd_fd`, which no key here gives."""
    y, z = data["real"].double(), S * data["scd_fd_draw01_randn_like"].double()

    def wrong(f: Any, at: Any, along: Any, ends: Any) -> tuple[Tensor, Tensor]:
        x, s = at
        theta, D = (s / S).atan(), f(*at)
        h = 1e-3 * theta

        def V(theta: Tensor) -> Tensor:
            x_theta = theta.cos() * y + theta.sin() * z
            return cast(Tensor, (theta.cos() * x_theta - f(x_theta / theta.cos(), S * theta.tan())) / theta.sin())

        dV = theta.cos() * theta.sin() * (V(theta + h) - V(theta - h)).detach() / (2 * h)
        rest = trigflow(x, s, along[0], D.detach(), torch.zeros_like(x))["F_theta_jvp"] * S * theta.sin()
        return D, rest - theta.sin() * dV

    _, made = replay(data, "scd_fd", jvp=wrong)
    for name, found in made.items():
        want = data[f"scd_fd_{name}"].double()
        rounded = 2e-3 if name == "F_theta_jvp" else 1e-5  # a difference over little of what float32 rounds
        torch.testing.assert_close(found.view_as(want), want, rtol=1e-3, atol=rounded)
    assert not torch.allclose(made["F_theta_jvp"], data["scd_it20000_F_theta_jvp"].double(), rtol=0.1)
    replay(data, "scd_fd", like="scd_it20000", h=1e-3)  # with ours, along the teacher's, it is the loss that it is


def test_noise_levels_are_the_references(data: Data) -> None:
    for tag, high in (("sct_it0", 80.0), ("sct_max800", 800.0)):
        found = truncated_lognormal(data[f"{tag}_draw00_rand"], -1.0, 1.4, 0.002, high)
        torch.testing.assert_close(found, data[f"{tag}_t"], rtol=1e-12, atol=0)
    ends = truncated_lognormal(torch.tensor([0.0, 1 - 2**-24]), -1.0, 1.4, 0.002, 80.0)
    torch.testing.assert_close(ends, torch.tensor([0.002, 80.0]), rtol=1e-2, atol=0)


def test_trigflows_form_is_edms(data: Data) -> None:
    t = data["trig_t"].view(-1, 1, 1, 1)
    torch.testing.assert_close(t, S * data["trig_t_hat"].view_as(t).tan(), rtol=1e-6, atol=0)
    sin2, cos2 = noise_share(t, S)
    x, D = data["trig_x_t"].double(), data["trig_x0"].double()
    torch.testing.assert_close(cos2.sqrt() * x, data["trig_x_hat"].double(), **CLOSE)
    F = (cos2 * x - D) / (S * sin2.sqrt())
    torch.testing.assert_close(F, data["trig_F"].double(), **CLOSE)
    torch.testing.assert_close(cos2 * x - S * sin2.sqrt() * F, data["trig_flow_to_x0"].double(), rtol=1e-4, atol=1e-6)


class Map(nn.Module):
    """The consistency function of N(m, v), where v times `off` is its own idea of it; at 1 the true one."""

    sigma_min, sigma_max, sigma_data = 0.0, float("inf"), S
    compute_dtype: Any = None

    def __init__(self, off: float = 1.0) -> None:
        super().__init__()
        self.m, self.off = nn.Parameter(torch.tensor(0.3, dtype=torch.float64)), off

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        v = 0.4 * self.off
        return self.m + (x - self.m) * (v / (v + sigma**2)).sqrt()


def denoised(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
    """D of N(0.3, 0.4)."""
    return (0.4 * x + sigma**2 * 0.3) / (0.4 + sigma**2)


@pytest.mark.parametrize(("off", "level"), [(1.0, 0.0), (4.0, 0.01)])
def test_scds_tangent_is_zero_at_the_true_consistency_function_alone(off: float, level: float) -> None:
    loss, state = ready("scd")
    state.generator = cast(Any, Map(off))
    step = replayed(state, [torch.rand(64, 1, 1, 1), torch.randn(64, 3, 8, 8)], real=torch.randn(64, 3, 8, 8).double())
    loss.generator_loss(state, step, cast(Any, denoised))
    tangent = state.records.means()["scm/tangent"]
    assert tangent < 1e-12 if level == 0 else tangent > level


def test_before_r_rises_the_loss_pulls_the_student_to_what_lies_ahead() -> None:
    loss, state = ready("scd", iteration=0.0, c=1e6)  # a large c leaves g as it is, but for a factor
    student = Stub(torch.full((3, 8, 8), 0.5).double(), torch.zeros(3, 8, 8).double())
    state.generator, loss.head = cast(Any, student), cast(Any, Given(torch.zeros(8).double()))
    u, n, y = torch.rand(8, 1, 1, 1), torch.randn(8, 3, 8, 8), torch.randn(8, 3, 8, 8).double()
    value = loss.generator_loss(state, replayed(state, [u, n], real=y), cast(Any, denoised))
    found = torch.autograd.grad(value.sum(), student.B)[0]
    sigma = truncated_lognormal(u.double(), -1.0, 1.4, 0.002, 80.0)
    sin2, cos2 = noise_share(sigma, S)
    D = student(y + sigma * n.double(), sigma)
    error = (denoised(y + sigma * n.double(), sigma) - D).detach()
    want = -2 * cos2 / (S * sin2 * 1e6 * sigma * 192**2) * error * (1 + 0.1 * sigma.log())
    largest = want.sum(0).abs().max()
    torch.testing.assert_close(found / largest, want.sum(0) / largest, rtol=1e-4, atol=1e-6)


def test_scd_without_a_teacher_and_levels_that_cross_are_refused() -> None:
    with pytest.raises(UsageError, match="needs a \\[teacher_score\\] table"):
        toy_state(
            generator_loss={"use": "scd"},
            teacher_score={"remove": True},
            generator={"init": "scratch", "network": {"use": "mlp"}},
        )
    with pytest.raises(UsageError, match="sigma_min"):
        toy_state(generator_loss={"use": "sct", "sigma_min": 900.0})
    for h in (1.0, 1e-9, 0.0):  # at 1 a level of 0; so near that float32 finds no difference
        with pytest.raises(UsageError, match=r"generator_loss\.h"):
            toy_state(generator_loss={"use": "sct", "h": h})
    with pytest.raises(UsageError, match="leave no noise level between the cuts"):
        toy_state(generator_loss={"use": "scd", "P_mean": 60.0})


def test_without_end_the_share_of_the_derivative_does_not_rise() -> None:
    assert [rise(2000, kimg) for kimg in (0.0, 1.0, 8.0, float("inf"))] == [1.0, 1.0, 0.25, 0.0]


def test_without_an_expected_error_nothing_else_trains_and_each_level_counts_as_it_is_drawn() -> None:
    loss, state = ready("scd", adaptive=False, prior=False, per_pixel=False, c=1e6)
    assert list(state.networks) == ["generator"] and state.turns[0].trains == ("generator",)
    assert ready("scd")[1].turns[0].trains == ("generator", "logvar"), "by default it trains with the student"
    student = Map(4.0)
    state.generator = cast(Any, student)
    draws = [torch.rand(8, 1, 1, 1), torch.randn(8, 3, 8, 8)]
    value = loss.generator_loss(
        state, replayed(state, draws, real=torch.randn(8, 3, 8, 8).double()), cast(Any, denoised)
    )
    assert value.shape == (8,) and value.max() < 1e-6
