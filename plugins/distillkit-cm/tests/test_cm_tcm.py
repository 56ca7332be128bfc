"""TCM against the numbers of its authors' code and of FastGen's, and in closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_cm import student_t
from distillkit_cm.tcm import Tcm
from fastgen_networks import Data, Stub, networks, of, recorded, same_gradients
from torch import Tensor

from distillkit.api import UsageError
from distillkit.noise import shuffled
from distillkit.testing import toy_state
from distillkit.train.iterate import iterate

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
IMAGENET = {"c": 0.06, "weight": "edm"}
HELD: dict[str, dict[str, Any]] = {
    "tcm": {}, "tcm_r9": {}, "tcm_huber": IMAGENET, "nv_tcm": {"epsilon": 1e-6},
    "nv_tcm_im": {**IMAGENET, "epsilon": 1e-6},
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Data:
    return recorded()


def share(u: Tensor, df: float, high: float) -> Tensor:
    """Where between 0 and `high` the value of the distribution function u = F(x), x >= 0, lies."""
    s = torch.linspace(0, math.asinh(high / math.sqrt(df)), 100_001, dtype=torch.float64)
    const = math.gamma((df + 1) / 2) / math.gamma(df / 2) / math.sqrt(math.pi)
    return (u - 0.5) / (const * torch.trapezoid(s.cosh() ** -df, s))


def replayed(data: Data, tag: str) -> tuple[Stub, Stub, Tensor, Tensor]:
    """Student, first stage, loss per image and which rows are at the boundary, with the recorded draws."""
    want = of(data, tag)
    student, first = networks(data, "c")
    loss = Tcm(Tcm.Config(ratio=float(want["ratio"]), **HELD[tag]))
    loss.f_0 = first
    y, n = data["real"].double(), len(data["real"])
    at = torch.zeros(n, dtype=torch.bool)
    rows = int(0.25 * n)
    at[want["draw01_randperm"][:rows]] = True
    loss.boundary = lambda state, step: (at.view(-1, 1, 1, 1), rows / n)
    u = share(want["draw00_np_uniform"], 0.01, math.log(80) / 0.2)
    step = SimpleNamespace(
        real=y, labels=data["condition"].double(), rand=lambda *shape: u.view(-1, *shape),
        randn_like=lambda x: want["draw02_randn_like"].double(),
    )  # fmt: skip
    return student, first, loss.generator_loss(SimpleNamespace(generator=student), step), at


@pytest.mark.parametrize("tag", HELD)
def test_the_loss_and_its_gradient_are_the_references(data: Data, tag: str) -> None:
    want, n = of(data, tag), len(data["real"])
    student, _, per_image, at = replayed(data, tag)
    per_image.mean().backward()
    at_t, at_r = student.calls
    inside, t = per_image[~at].detach() * (1 - int(0.25 * n) / n), at_t.sigma.flatten()
    edge = per_image[at].detach() * int(0.25 * n) / n / 0.1
    total = want["total"] if "total" in want else want["total_loss"]
    torch.testing.assert_close(per_image.mean().detach(), total, rtol=1e-4, atol=0)
    if tag.startswith("nv"):  # the others alone, then the boundary
        torch.testing.assert_close(t[~at], want["t"], rtol=1e-4, atol=0)
        torch.testing.assert_close(inside, want["loss"], rtol=1e-4, atol=0)
        torch.testing.assert_close(edge, want["boundary"], rtol=1e-4, atol=0)
    else:
        torch.testing.assert_close(t, want["t"], rtol=1e-4, atol=0)
        torch.testing.assert_close(at_r.sigma.flatten(), want["r"], rtol=1e-4, atol=0)
        torch.testing.assert_close(inside, want["loss_per_image"][~at], rtol=1e-4, atol=0)
        torch.testing.assert_close(edge, want["loss_per_image"][at], rtol=1e-4, atol=0)
        torch.testing.assert_close(inside.mean(), want["cm_loss"], rtol=1e-4, atol=0)
        torch.testing.assert_close(edge.mean(), want["loss_boundary"], rtol=1e-4, atol=0)
        torch.testing.assert_close(at_t.D.float(), want["D_yt"], **CLOSE)
    same_gradients(student, want)


@pytest.mark.parametrize("tag", ["tcm", "tcm_r9", "tcm_huber"])
def test_the_target_is_the_first_stages_below_t_prime_alone(data: Data, tag: str) -> None:
    student, first, _, _ = replayed(data, tag)
    below = student.calls[1].sigma < 1
    assert below.any() and not below.all()
    target = torch.where(below, first.calls[0].D, student.calls[1].D)
    torch.testing.assert_close(target.float(), of(data, tag)["D_yr"], **CLOSE)


def test_the_distribution_is_students() -> None:
    """Of one degree of freedom, Cauchy's, in closed form; of many almost normal; between bounds that hold 0 or not."""
    u = torch.linspace(0, 1, 101, dtype=torch.float64)[:-1]
    for low, high in ((-3.0, 5.0), (0.5, 40.0)):
        F = [math.atan(x) / math.pi for x in (low, high)]
        want = (math.pi * (F[0] + u * (F[1] - F[0]))).tan()
        torch.testing.assert_close(student_t.between(u, 1.0, low, high), want, rtol=1e-4, atol=1e-5)
    half = student_t.between(u, 1e4, 0.0, 8.0)
    torch.testing.assert_close(half, torch.special.ndtri(0.5 + u / 2), rtol=1e-3, atol=1e-3)


def test_noise_levels_begin_at_t_prime_and_end_at_sigma_max() -> None:
    ends = torch.tensor([0.0, 1 - 2**-24]).view(2, 1, 1, 1)
    for keys in ({}, {"t_prime": 0.5, "sigma_max": 20.0, "P_mean": 1.0, "df": 2.0}):
        c = Tcm.Config(**keys)
        t = Tcm(c).levels(ends).flatten()
        assert t.tolist() == pytest.approx([c.t_prime, c.sigma_max], rel=1e-4)
        assert t.min() >= c.t_prime and t.max() <= c.sigma_max


def test_the_lower_level_is_epsilon_at_least() -> None:
    t = torch.tensor([1.0, 2.0, 60.0])  # (c) is below 0 at the first
    at = 1 - 0.5 * (1 + 8 * torch.sigmoid(-t))
    assert at[0] < 0 < at[2]
    torch.testing.assert_close(Tcm(Tcm.Config(ratio=0.5, epsilon=0.03)).map(t), (t * at).clamp(min=0.03))


def rows(loss: Tcm, batch: int, first: int = 0, n: int | None = None, iteration: int = 0) -> Tensor:
    n = batch if n is None else n
    step = SimpleNamespace(
        batch=batch, first=first, n=n, real=torch.zeros(n), rand=lambda *shape: torch.full((n, *shape), 0.2)
    )
    return loss.boundary(SimpleNamespace(seed=3, iteration=iteration), step)[0].flatten()


@pytest.mark.parametrize(("batch", "p", "many"), [(8, 0.25, 2), (7, 0.25, 1), (10, 0.5, 5), (1024, 0.25, 256)])
def test_exactly_so_many_rows_of_a_batch_are_at_the_boundary_whoever_asks(batch: int, p: float, many: int) -> None:
    loss = Tcm(Tcm.Config(p=p))
    each = [rows(loss, batch, iteration=k) for k in range(4)]
    assert [int(one.sum()) for one in each] == [many] * 4
    assert any(not torch.equal(each[0], one) for one in each[1:])
    parts = [rows(loss, batch, first, 1, iteration=2) for first in range(batch)]
    assert torch.equal(torch.cat(parts), each[2])
    place = shuffled(3, "tcm/boundary", 2 * batch, batch, batch)
    assert sorted(place.tolist()) == list(range(batch))  # one permutation an iteration


def test_of_a_batch_too_small_each_row_is_there_by_chance() -> None:
    assert rows(Tcm(Tcm.Config()), 3).all() and not rows(Tcm(Tcm.Config(p=0.1)), 3).any()


def test_the_first_stage_is_what_the_student_starts_from_and_stays() -> None:
    state = toy_state(generator_loss={"use": "tcm"}, generator={"optimizer": {"lr": 1e-2}})
    first = state.components["generator_loss"].f_0
    start = [p.clone() for p in state.generator.parameters()]
    for _ in range(2):
        iterate(state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), start, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(state.generator.parameters(), start, strict=True))
    assert first.training and not any(p.requires_grad for p in first.parameters())


def test_random_weights_are_no_first_stage() -> None:
    network = {"use": "mlp", "width": 8, "depth": 1}
    with pytest.raises(UsageError, match=r'generator\.init = "scratch".*generator\.from = "ect\.toml"'):
        toy_state(generator_loss={"use": "tcm"}, generator={"init": "scratch", "network": network})


def test_a_boundary_that_cannot_be_is_refused() -> None:
    for keys in ({"t_prime": 90.0}, {"t_prime": 0.001}):
        with pytest.raises(ValueError, match="t_prime"):
            Tcm.Config(**keys)


def test_steps_below_the_boundary_are_refused() -> None:
    """There the student is as the first stage left it, but for what it forgets."""
    sample = {"use": "few-step", "sigmas": [80.0, 2.0]}
    toy_state(generator_loss={"use": "tcm"}, sample=sample)
    with pytest.raises(UsageError, match=r"sample asks the student at 2, below generator_loss\.t_prime = 3"):
        toy_state(generator_loss={"use": "tcm", "t_prime": 3.0}, sample=sample)
    for level in (0.7, 3.3):  # the boundary itself, which float32 rounds down
        toy_state(generator_loss={"use": "tcm", "t_prime": level}, sample={**sample, "sigmas": [80.0, level]})
    for other in ({"use": "heun", "steps": 2}, {"use": "flow-map", "steps": 2}, {"use": "one-step", "sigma_init": 0.5}):
        with pytest.raises(UsageError, match="below generator_loss"):
            toy_state(generator_loss={"use": "tcm"}, sample=other)


# Closed form. Of data N(M, S^2) the exact map is f(x; sigma) = M + g (x - M), g^2 = (S^2 + e^2) / (S^2 + sigma^2).

M = 0.3


class Flow:
    """M + g^theta (x - M): the exact map for theta = 1."""

    def __init__(self, S: float, theta: float = 1.0) -> None:
        self.S2, self.theta = S**2, torch.tensor(theta, dtype=torch.float64, requires_grad=True)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        g = ((self.S2 + 0.002**2) / (self.S2 + sigma**2)).sqrt()
        return M + g**self.theta * (x - M)


def on_flows(student: Flow, loss: Tcm, y: Tensor, n: Tensor, u: Tensor, at: Tensor) -> Tensor:
    """The loss [N] of (e), with the first stage exact."""
    loss.f_0, loss.boundary = Flow(student.S2**0.5), lambda state, step: (at.view(-1, 1, 1, 1), 0.25)
    step = SimpleNamespace(real=y, labels=None, rand=lambda *shape: u.view(-1, *shape), randn_like=lambda x: n)
    return loss.generator_loss(SimpleNamespace(generator=student), step)


def test_the_loss_is_none_at_the_exact_map_of_one_image() -> None:
    y = torch.full((64, 3, 2, 2), M, dtype=torch.float64)
    n = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = torch.arange(64, dtype=torch.float64) / 64
    given = y, n, u, torch.arange(64) % 4 == 0
    for keys in ({}, IMAGENET):
        assert on_flows(Flow(0.0), Tcm(Tcm.Config(**keys)), *given).abs().max() < 1e-9
        assert on_flows(Flow(0.0, 1.1), Tcm(Tcm.Config(**keys)), *given).min() > 0


def drift(theta: float, ratio: float, boundary: bool) -> float:
    """d E L / d theta for data N(M, 0.5^2), at the boundary or above: where gradient descent takes theta."""
    at, weight = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(24))
    levels = (torch.arange(32, dtype=at.dtype) + 0.5) / 32
    u, z, n = (a.reshape(-1, 1, 1, 1) for a in torch.meshgrid(levels, at, at, indexing="ij"))
    share = (weight[:, None] * weight / weight.sum() ** 2 / 32).flatten().repeat(32)
    flow, edge = Flow(0.5, theta), torch.full((len(u),), boundary)
    loss = Tcm(Tcm.Config(c=1.0, ratio=ratio))
    expected = (share * on_flows(flow, loss, M + 0.5 * z, n, u.flatten(), edge)).sum()
    return float(torch.autograd.grad(expected, flow.theta)[0])


@pytest.mark.parametrize("boundary", [True, False])
def test_the_exact_map_is_left_alone_up_to_an_error_that_falls_with_the_step(boundary: bool) -> None:
    """Another is pulled back to it: above the boundary by the student itself, at it by the first stage."""
    coarse, fine = (abs(drift(1.0, ratio, boundary)) for ratio in (0.998, 0.999))
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.2)
    for error in (-0.1, 0.1):
        assert error * drift(1 + error, 0.999, boundary) / abs(error) > 10 * fine
