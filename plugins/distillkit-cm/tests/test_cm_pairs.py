"""CD and CT against the reference's numbers: losses, gradients, schedules, and what the target network does."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_cm.cd import Cd
from distillkit_cm.ct import Ct, adaptive
from distillkit_cm.weights import weight
from torch import Tensor, nn

from distillkit.api import InputError, UsageError
from distillkit.noise import rho_grid
from distillkit.testing import toy_state
from distillkit.train import snapshot
from distillkit.train.iterate import iterate

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def data() -> dict[str, Tensor]:
    with np.load(Path(__file__).parent / "data" / "cm_loss_io.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


class Stub(nn.Module):
    """F = A x_in + B (1 + c_noise) within the consistency form (boundary 0: EDM's); keeps what went in and out."""

    def __init__(self, A: Tensor, B: Tensor, boundary: float) -> None:
        super().__init__()
        self.A, self.B, self.boundary = nn.Parameter(A.clone()), nn.Parameter(B.clone()), boundary
        self.calls = []

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        above, norm = sigma - self.boundary, (sigma**2 + 0.25).sqrt()
        F = self.A * x / norm + self.B * (1 + sigma.log() / 4)
        D = 0.25 / (above**2 + 0.25) * x + above * 0.5 / norm * F
        if D.requires_grad:
            D.retain_grad()
        self.calls.append(SimpleNamespace(x=x, sigma=sigma, D=D))
        return D


class Replay:
    """A step whose draws are the recorded ones."""

    labels = None

    def __init__(self, real: Tensor, noise: Tensor, indices: Tensor, N: int) -> None:
        self.real, self.noise, self.u = real, noise, (indices.view(-1, 1, 1, 1) + 0.5) / (N - 1)

    def rand(self, *shape: int) -> Tensor:
        return self.u.float()

    def randn_like(self, x: Tensor) -> Tensor:
        return self.noise


def networks(data: dict[str, Tensor]) -> tuple[Stub, Stub, Stub]:
    student, target, teacher = (
        Stub(data[f"A_{name}"], data[f"B_{name}"], b)
        for name, b in (("model", 0.002), ("target", 0.002), ("teacher", 0.0))
    )
    return student, target.requires_grad_(False), teacher.requires_grad_(False)


@pytest.mark.parametrize("lam", ["uniform", "karras"])
@pytest.mark.parametrize("d", ["l2", "l1"])
@pytest.mark.parametrize("method", ["cd", "ct"])
def test_the_loss_and_its_gradient_are_the_references(data: dict[str, Tensor], method: str, d: str, lam: str) -> None:
    want = {
        key.removeprefix(f"{method}_{d}_{lam}_"): v for key, v in data.items() if key.startswith(f"{method}_{d}_{lam}_")
    }
    N = int(want["num_scales"])
    cls = {"cd": Cd, "ct": Ct}[method]
    loss = cls(cls.Config(distance=d, weight=lam, **({"N": N} if method == "cd" else {})))
    loss.schedule = lambda state: (N, 0.0)
    student, loss.target, teacher = networks(data)
    step = Replay(data["x_start"], data["noise"], want["indices"], N)
    per_image = loss.generator_loss(SimpleNamespace(generator=student), step, teacher)
    per_image.mean().backward()
    at_t, at_r = student.calls[0], loss.target.calls[0]
    torch.testing.assert_close(at_t.sigma.flatten(), want["t"], **CLOSE)
    torch.testing.assert_close(at_r.sigma.flatten(), want["t2"], **CLOSE)
    torch.testing.assert_close(at_t.x, want["x_t"], **CLOSE)
    torch.testing.assert_close(at_r.x, want["x_t2"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(at_t.D, want["pred"], **CLOSE)
    torch.testing.assert_close(at_r.D, want["target"], **CLOSE)
    torch.testing.assert_close(per_image, want["loss"], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(per_image.mean(), want["loss_scalar"], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(at_t.D.grad, want["grad_pred"], rtol=1e-4, atol=1e-7)
    assert len(teacher.calls) == (2 if method == "cd" else 0)


def test_the_grid_is_the_references(data: dict[str, Tensor]) -> None:
    assert data["sigmas40"][-1] in (0, data["sigmas40"][39])
    torch.testing.assert_close(rho_grid(torch.arange(40) / 39), data["sigmas40"][:40].float(), **CLOSE)


@pytest.mark.parametrize(("mu0", "s1"), [(0.95, 200), (0.9, 150)])
def test_the_adaptive_schedules_are_the_references(data: dict[str, Tensor], mu0: float, s1: int) -> None:
    tag = f"ct_adaptive_{str(mu0).replace('.', 'p')}_2_{s1}_800k"
    found = [adaptive(int(k) / 800_000, 2, s1, mu0) for k in data["ct_steps"]]
    assert [N for N, _ in found] == data[f"{tag}_scales"].tolist()
    assert [mu for _, mu in found] == pytest.approx(data[f"{tag}_ema"].tolist(), rel=1e-9)


def test_the_papers_mu_has_n_where_the_code_has_one_less() -> None:
    assert adaptive(0.0, 2, 150, 0.9, "paper") == (2, pytest.approx(0.9))
    assert adaptive(0.0, 2, 150, 0.9, "code") == (2, pytest.approx(0.81))
    assert adaptive(0.5, 2, 150, 0.0) == (adaptive(0.5, 2, 150, 0.9)[0], 0.0)


def test_the_schedule_of_ct_is_a_function_of_the_images_seen() -> None:
    state = SimpleNamespace(nimg=30_000, total=40_000)
    assert Ct(Ct.Config()).schedule(state) == adaptive(0.75, 2, 150, 0.9)
    assert Ct(Ct.Config(schedule_kimg=20)).schedule(state) == adaptive(1.0, 2, 150, 0.9)
    assert Ct(Ct.Config(schedule_kimg=60)).schedule(state) == adaptive(0.5, 2, 150, 0.9)


def test_weights_by_hand() -> None:
    t, r = torch.tensor([0.5, 2.0]).view(2, 1, 1, 1), torch.tensor([0.25, 1.0]).view(2, 1, 1, 1)
    want = {
        "uniform": [1.0, 1.0], "karras": [8.0, 4.25], "snr": [4.0, 0.25], "snr+1": [5.0, 1.25],
        "truncated-snr": [4.0, 1.0], "step": [4.0, 1.0],
    }  # fmt: skip
    assert {name: weight(name, t, r).tolist() for name in want} == want


class Dropping(nn.Module):
    """Multiplies by a dropout mask."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return nn.functional.dropout(self.scale * torch.ones_like(x), 0.5, self.training)


@pytest.mark.parametrize("mu", [0.0, 0.9])
def test_student_and_target_drop_the_same_units(data: dict[str, Tensor], mu: float) -> None:
    loss, student = Cd(Cd.Config(mu=mu)), Dropping()
    state = SimpleNamespace(generator=student, teacher=object(), add_copy=lambda name, average: deepcopy(student))
    loss.setup(state)
    step = Replay(data["x_start"], data["noise"], torch.tensor([1, 2, 3, 4]), 18)
    assert loss.generator_loss(state, step, lambda x, sigma, labels: x).abs().max() == 0
    assert (loss.target is None) == (mu == 0)


def test_the_target_follows_the_student_and_is_checkpointed() -> None:
    state = toy_state(generator_loss={"use": "cd", "mu": 0.75}, sample={"use": "few-step"})
    loss = state.components["generator_loss"]
    before = [p.clone() for p in loss.target.parameters()]
    iterate(state)
    for old, new, student in zip(before, loss.target.parameters(), state.generator.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * student)
    other = toy_state(generator_loss={"use": "cd", "mu": 0.75}, sample={"use": "few-step"})
    snapshot.restore(other, *snapshot.capture(state))
    for a, b in zip(other.components["generator_loss"].target.parameters(), loss.target.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not any(p.requires_grad for p in loss.target.parameters())


def test_a_target_of_a_checkpoint_of_0_1_is_read_and_a_missing_one_is_refused() -> None:
    state = toy_state(generator_loss={"use": "cd", "mu": 0.75}, sample={"use": "few-step"})
    tensors, meta = snapshot.capture(state)
    target = {key.removeprefix("copies/target/"): t + 1 for key, t in tensors.items() if key.startswith("copies/")}
    others = {key: t for key, t in tensors.items() if not key.startswith("copies/")}
    old = others | {f"components/generator_loss/target.{key}": t for key, t in target.items()}
    snapshot.restore(state, old, meta)
    for key, tensor in state.components["generator_loss"].target.state_dict().items():
        assert torch.equal(tensor, target[key])
    with pytest.raises(InputError, match="no copy 'target'"):
        snapshot.restore(state, others, meta)


def test_cd_needs_a_teacher() -> None:
    with pytest.raises(UsageError, match="teacher_score"):
        Cd(Cd.Config()).setup(SimpleNamespace(teacher=None))


class Flow(nn.Module):
    """The exact solution for data N(0, s^2): the point at sigma = 0.002 of the trajectory through x."""

    s2 = 0.3**2

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return x * ((self.s2 + 0.002**2) / (self.s2 + sigma**2)).sqrt()


@pytest.mark.parametrize(("solver", "order", "left"), [("heun", 3, 2e-3), ("euler", 2, 2e-1)])
def test_the_exact_flow_is_a_fixed_point_of_cd_to_the_order_of_its_solver(solver: str, order: int, left: float) -> None:
    """Its error is that of one step: third order in a Heun step, second in Euler's; squared in the distance."""

    def denoiser(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        return x * Flow.s2 / (Flow.s2 + sigma**2)

    def largest(N: int) -> float:
        generator = torch.Generator().manual_seed(0)
        x, n = (torch.randn(N - 1, 1, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
        loss, state = Cd(Cd.Config(N=N, solver=solver)), SimpleNamespace(generator=Flow())
        step = Replay(0.3 * x, n, torch.arange(N - 1), N)
        return float(loss.generator_loss(state, step, denoiser).max())

    assert largest(18) < left
    assert largest(40) / largest(80) == pytest.approx(2 ** (2 * order), rel=0.3)


def test_eulers_step_by_hand_asks_the_teacher_once() -> None:
    asked: list[float] = []

    def denoiser(x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        asked.append(float(sigma))
        return 0.5 * x

    x_t, t, r = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 1.0)
    x_r = Cd(Cd.Config(solver="euler")).step_down(x_t, t, r, SimpleNamespace(labels=None), denoiser)
    assert asked == [2.0] and torch.equal(x_r, torch.full_like(x_t, 3 - 1.5 / 2))  # 3 + (1 - 2) (3 - 1.5) / 2
