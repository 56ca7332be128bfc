"""iCT against a third party's numbers, whose metric is the paper's but for being taken pixel by pixel."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_cm import ict
from distillkit_cm.ct import adaptive
from distillkit_cm.ict import Ict, doubling, drawn, masses
from torch import Tensor, nn

BATCH = 1024


@pytest.fixture(scope="module")
def data() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "ict_io.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


class Stub(nn.Module):
    """F = A sin(x) + B (1 + 0.1 ln sigma) within the consistency form; keeps what went in and out."""

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.A, self.B, self.calls = nn.Parameter(A.clone()), nn.Parameter(B.clone()), []

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        above = sigma - 0.002
        F = self.A * x.sin() + self.B * (1 + 0.1 * sigma.log())
        D = 0.25 / (above**2 + 0.25) * x + 0.5 * above / (sigma**2 + 0.25).sqrt() * F
        self.calls.append(SimpleNamespace(x=x, sigma=sigma, D=D))
        return D


def huber(a: Tensor, b: Tensor, c: float) -> Tensor:
    """The third party's metric, of each number."""
    return ((a - b).square() + c**2).sqrt() - c


def elementwise(name: str, a: Tensor, b: Tensor, c: float) -> Tensor:
    """The same, of each image."""
    return huber(a, b, c).flatten(1).mean(1)


def replayed(data: dict[str, Tensor], k: int) -> tuple[Stub, Tensor]:
    """The loss of iteration k with the recorded noise and the recorded places of the grid."""
    K, tag = int(data["total"]), f"step{k}"
    i, N = data[f"{tag}_draw01_multinomial"], doubling(k, K, 10, 1280)
    loss, student = Ict(Ict.Config()), Stub(data["A"], data["B"])
    y = data["x"]
    P = masses(loss.grid(N, y).log(), -1.1, 2.0)
    middle = P.cumsum(0)[i] - P[i] / 2  # of the share of the unit interval that stands for the place i
    step = SimpleNamespace(
        real=y, labels=None, rand=lambda *shape: middle.view(-1, *shape),
        randn_like=lambda x: data[f"{tag}_draw00_randn_like"],
    )  # fmt: skip
    state = SimpleNamespace(generator=student, nimg=k * BATCH, batch=BATCH, total=K * BATCH)
    return student, loss.generator_loss(state, step)


@pytest.mark.parametrize("k", [0, 150_000, 399_999])
def test_the_loss_and_its_gradient_are_the_third_partys(
    data: dict[str, Tensor], k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ict, "distance", elementwise)
    student, per_image = replayed(data, k)
    per_image.mean().backward()
    want = {key.removeprefix(f"step{k}_"): v for key, v in data.items() if key.startswith(f"step{k}_")}
    at_t, at_r = student.calls
    torch.testing.assert_close(at_t.D, want["predicted"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(at_r.D, want["target"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(1 / (at_t.sigma - at_r.sigma), want["weights"], rtol=1e-4, atol=0)
    torch.testing.assert_close(huber(at_t.D, at_r.D, float(data["c"])).detach(), want["huber"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(per_image.mean(), want["loss"], rtol=1e-4, atol=0)
    for name in ("A", "B"):
        size = float(want[f"grad_{name}"].abs().max())
        torch.testing.assert_close(getattr(student, name).grad, want[f"grad_{name}"], rtol=1e-4, atol=1e-4 * size)


def test_the_metric_is_the_papers_over_an_image(data: dict[str, Tensor]) -> None:
    y, want = data["x"], {name: data[f"step0_{name}"] for name in ("predicted", "target", "weights")}
    _, per_image = replayed(data, 0)
    c = 0.00054 * y[0].numel() ** 0.5
    assert c == pytest.approx(float(data["c"]), rel=1e-6)
    gap = (want["predicted"] - want["target"]).flatten(1).square().sum(1)
    torch.testing.assert_close(per_image, want["weights"].flatten() * ((gap + c**2).sqrt() - c), rtol=1e-4, atol=0)


def test_the_grid_doubles_as_the_third_partys_does(data: dict[str, Tensor]) -> None:
    K, steps = int(data["total"]), data["steps"].tolist()
    assert [doubling(k, K, 10, 1280) for k in steps] == data["n_timesteps"].tolist()
    assert [adaptive(k / (2 * K), 2, 150, 0.0)[0] for k in steps] == data["ct_n_timesteps"].tolist()


def test_the_grid_doubles_by_iterations_of_the_run_or_of_its_key() -> None:
    state = SimpleNamespace(nimg=30_000, batch=100, total=40_000)
    assert Ict(Ict.Config()).points(state) == doubling(300, 400, 10, 1280) == 641
    assert Ict(Ict.Config(schedule_kimg=20)).points(state) == 1281
    assert Ict(Ict.Config(schedule_kimg=60)).points(state) == doubling(300, 600, 10, 1280) == 161
    assert doubling(10**6, 3, 10, 1280) == 1281  # a run of fewer iterations than doublings, gone on with
    assert [doubling(k, 9, 4, 12) for k in range(9)] == [5, 5, 5, 9, 9, 9, 13, 13, 13]  # K' = floor(9 / (log2 3 + 1))


@pytest.mark.parametrize("N", [11, 41, 1281])
def test_the_grid_its_masses_and_its_weights_are_the_third_partys(data: dict[str, Tensor], N: int) -> None:
    sigma = Ict(Ict.Config()).grid(N, torch.zeros((), dtype=torch.float64))
    want = {name: data[f"{name}_{N}"].double() for name in ("sigmas", "pdf", "weights")}
    torch.testing.assert_close(sigma, want["sigmas"], rtol=1e-4, atol=0)
    torch.testing.assert_close(1 / sigma.diff(), want["weights"], rtol=3e-3 if N > 100 else 1e-4, atol=0)
    torch.testing.assert_close(masses(sigma.log(), -1.1, 2.0), want["pdf"], rtol=3e-3 if N > 100 else 1e-4, atol=1e-9)


def test_places_are_drawn_with_their_masses() -> None:
    P = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    u = (torch.arange(8, dtype=torch.float64) / 8).view(-1, 1, 1, 1)
    assert drawn(P, u).flatten().tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    assert drawn(P, torch.tensor([1.0])).tolist() == [2]  # rounding of the sum leads nowhere


def test_noise_levels_are_log_normal_but_for_the_grid() -> None:
    """Mean and deviation of ln t of a normal cut to the grid's ends, by integrating its density."""
    sigma = Ict(Ict.Config()).grid(1281, torch.zeros((), dtype=torch.float64))
    P, at = masses(sigma.log(), -1.1, 2.0), (sigma[1:] * sigma[:-1]).log() / 2
    a, b = ((math.log(s) + 1.1) / 2 for s in (0.002, 80.0))
    normal = torch.distributions.Normal(0.0, 1.0)
    density = [float(normal.log_prob(torch.tensor(x)).exp()) for x in (a, b)]
    inside = float(normal.cdf(torch.tensor(b)) - normal.cdf(torch.tensor(a)))
    assert float((P * at).sum()) == pytest.approx(-1.1 + 2 * (density[0] - density[1]) / inside, abs=1e-3)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"s0": 20, "s1": 10}, "s1"),
        ({"sigma_max": 0.001}, "sigma_max"),
        ({"P_mean": 30.0}, "P_mean"),
        ({"P_mean": -20.0, "P_std": 1.0}, "P_mean"),
        ({"P_std": math.inf}, "P_std"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(keys: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Ict.Config(**keys)


# Closed form. Of data N(M, S^2) the exact map is f(x; sigma) = M + g (x - M), g^2 = (S^2 + e^2) / (S^2 + sigma^2).

M = 0.3


class Flow:
    """M + g^theta (x - M): the exact map for theta = 1, and the identity at sigma = e for any."""

    def __init__(self, S: float, theta: float = 1.0) -> None:
        self.S2, self.theta = S**2, torch.tensor(theta, dtype=torch.float64, requires_grad=True)

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        g = ((self.S2 + 0.002**2) / (self.S2 + sigma**2)).sqrt()
        return M + g**self.theta * (x - M)


def test_the_loss_is_none_at_the_exact_map_of_one_image() -> None:
    y = torch.full((64, 3, 2, 2), M, dtype=torch.float64)
    n = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = (torch.arange(64, dtype=torch.float64) / 64).view(-1, 1, 1, 1)
    step = SimpleNamespace(real=y, labels=None, rand=lambda *shape: u, randn_like=lambda x: n)
    for k in (0, 3, 7):
        state = SimpleNamespace(generator=Flow(0.0), nimg=k, batch=1, total=8)
        assert Ict(Ict.Config()).generator_loss(state, step).abs().max() < 1e-9
        state.generator = Flow(0.0, 1.1)
        assert Ict(Ict.Config()).generator_loss(state, step).min() > 0


def drift(theta: float, N: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """d E L / d theta for data N(M, 0.5^2): where gradient descent takes theta, integrated over noise and levels."""
    at, weight = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(24))
    loss, flow = Ict(Ict.Config(c=1.0)), Flow(0.5, theta)
    loss.points = lambda state: N
    i, z, n = (
        a.reshape(-1, 1, 1, 1) for a in torch.meshgrid(torch.arange(N - 1, dtype=at.dtype), at, at, indexing="ij")
    )
    P = masses(loss.grid(N, at).log(), -1.1, 2.0)
    share = (P[:, None, None] * weight[:, None] * weight / weight.sum() ** 2).flatten()
    monkeypatch.setattr(ict, "drawn", lambda P, u: i.long())
    step = SimpleNamespace(real=M + 0.5 * z, labels=None, rand=lambda *shape: None, randn_like=lambda x: n)
    expected = (share * loss.generator_loss(SimpleNamespace(generator=flow), step)).sum()
    return float(torch.autograd.grad(expected, flow.theta)[0])


def test_the_exact_map_is_left_alone_up_to_an_error_that_falls_with_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Euler's method, whose step the real image takes; another map is pulled back to it, however fine the grid."""
    coarse, fine = (abs(drift(1.0, N, monkeypatch)) for N in (81, 161))
    assert math.log2(coarse / fine) == pytest.approx(1, abs=0.2)
    for error in (-0.1, 0.1):
        pull = error * drift(1 + error, 161, monkeypatch) / abs(error)
        assert pull > 5 * fine
