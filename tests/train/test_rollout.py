"""Images made by the student's own steps: DMD2's numbers, one x for all who see it, gradients in the last call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import Denoiser, Rollout
from distillkit.testing import toy_state
from distillkit.testing.toys import toy_step
from distillkit.train import rollout as rollouts
from distillkit.train import turns
from distillkit.train.iterate import iterate
from distillkit.train.rollout import last_calls
from distillkit.train.state import State
from distillkit.train.step import Step

FILE = Path(__file__).parent / "data" / "rollouts.npz"  # of DMD2's own code
SIGMAS = (80.0, 10.0, 2.0, 0.4)
UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": []}
EL = [{"use": "embedding", "real_batch": 16, "embeddings": [{"use": "pixels"}]}]


def started(rollout: Rollout, **tables: Any) -> State:
    """The toy recipe with a rollout, in float64."""
    tables["run"] = {"precision": "fp64", "batch": 8, **tables.get("run", {})}
    state = toy_state(**tables)
    method: Any = state.components["generator_loss"]
    method.rollout = rollout
    return state


class Counted(nn.Module):
    """A network that keeps what it was asked, and whether a graph was made."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner, self.asked = inner, list[tuple[Tensor, Tensor, bool]]()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.asked.append((x.detach(), sigma, torch.is_grad_enabled()))
        return self.inner(x, sigma, labels)


def watched(state: State) -> Counted:
    counted = Counted(state.generator)
    state.generator = counted
    return counted


# DMD2's own.


class Eps(nn.Module):
    """eps = A sin(x) + B (1 + t / 1000) + c / 20 at an index t of the table, as D(x; sigma)."""

    def __init__(self, io: dict[str, Tensor]) -> None:
        super().__init__()
        self.A, self.B = (nn.Parameter(io[name].double()) for name in "AB")
        abar = io["alphas_cumprod"].double()
        self.table, self.c = ((1 - abar) / abar).sqrt(), io["condition"].double().view(-1, 1, 1, 1)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        t = (self.table - sigma.view(-1, 1)).abs().argmin(1).view(-1, 1, 1, 1)
        x_vp = x / (1 + sigma**2).sqrt()
        return x - sigma * (self.A * x_vp.sin() + self.B * (1 + t / 1000) + 0.05 * self.c)


@pytest.mark.parametrize("tag", ["bs4a", "bs4b", "bs4c", "bs4d", "bs2", "nobs4"])
def test_images_are_dmd2s(monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    with np.load(FILE) as data:
        io = {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}
    student = Eps(io)
    steps, t = io[f"{tag}_step_list"].tolist(), io[f"{tag}_timesteps"]
    draws = [io[key] for key in sorted(io) if key.startswith(f"{tag}_g_draw")]
    k = torch.tensor([steps.index(i) for i in t.tolist()])

    # Their first call gets n where we have sigma n / sqrt(1 + sigma^2) in their form: that index leaves some signal.
    first = (1 + float(student.table[999]) ** -2) ** 0.5
    z = io[f"{tag}_noise"].double() * torch.where(k == 0, first, 1.0).view(-1, 1, 1, 1)

    def rows(kind: str, seed: int, stream: str, at: int, n: int, shape: Any, device: Any = "cpu") -> Tensor:
        return z if stream == "generator/z" else draws[int(stream[-1])] * (first if stream[-1] == "0" else 1)

    data = tag.startswith("nobs")
    rollout = Rollout(
        sigmas=tuple(student.table[steps].tolist()), start="data" if data else "noise", drawn="row" if data else "batch"
    )
    state = started(rollout, dataset={"channels": 3, "label_dim": 0}, run={"batch": 4})
    monkeypatch.setattr(noise, "rows", rows)
    monkeypatch.setattr(rollouts, "last_calls", lambda step, rollout: k.tolist())
    monkeypatch.setattr(Step, "real", io["real"].double())
    state.generator = student
    counted = watched(state)
    step = toy_step(state)
    torch.testing.assert_close(step.x.detach(), io[f"{tag}_x"].double(), rtol=1e-4, atol=1e-4)
    assert len(counted.asked) == int(io[f"{tag}_n_calls"])


# What is drawn.


@pytest.mark.parametrize("drawn", ["batch", "row"])
@pytest.mark.parametrize("start", ["noise", "data"])
def test_each_row_is_what_it_is_alone(drawn: str, start: str) -> None:
    state = started(Rollout(sigmas=SIGMAS, drawn=drawn, start=start))
    x = toy_step(state).x
    parts = [toy_step(state, first=first, n=n).x for first, n in ((0, 3), (3, 1), (4, 4))]
    torch.testing.assert_close(torch.cat(parts), x, rtol=1e-12, atol=1e-12)


def test_every_step_is_drawn_and_all_images_take_the_same() -> None:
    state, seen = started(Rollout(sigmas=SIGMAS)), []
    for state.nimg in range(0, 8 * 60, 8):
        k = last_calls(toy_step(state), Rollout(sigmas=SIGMAS))
        assert len(k) == 8 and len(set(k)) == 1
        seen.append(k[0])
    assert set(seen) == {0, 1, 2, 3} and all(seen.count(i) > 5 for i in range(4))
    each = last_calls(toy_step(state), Rollout(sigmas=SIGMAS, drawn="row"))
    assert len(set(each)) > 1


@pytest.mark.parametrize("drawn", ["batch", "row"])
def test_calls_go_down_the_list_with_new_noise_and_the_gradient_is_in_the_last(drawn: str) -> None:
    rollout = Rollout(sigmas=SIGMAS, drawn=drawn)
    state = started(rollout)
    state.nimg = next(n for n in range(0, 800, 8) if at(state, rollout, n).max() == 3)
    counted, k = watched(state), at(state, rollout, state.nimg)
    step = toy_step(state)
    step.x.sum()
    assert [graph for _, _, graph in counted.asked] == [False, False, False, True]
    sigmas = [sigma for _, sigma, _ in counted.asked]
    for i in range(3):
        assert torch.equal(sigmas[i].flatten(), torch.full((8,), SIGMAS[i], dtype=torch.float64))
    assert torch.equal(sigmas[3].flatten(), torch.tensor(SIGMAS, dtype=torch.float64)[k])
    # Each call is given what the one before made, with unit noise times its level.
    with torch.no_grad():
        D = state.generator(counted.asked[0][0], sigmas[0], step.labels)
    rows = k > 0
    unit = ((counted.asked[1][0] - D) / SIGMAS[1])[rows]
    assert 0.85 < float(unit.std()) < 1.15 and abs(float(unit.mean())) < 0.15


def at(state: State, rollout: Rollout, nimg: int) -> Tensor:
    state.nimg = nimg
    return torch.tensor(last_calls(toy_step(state), rollout))


def test_the_gradient_goes_through_all_calls_where_that_is_asked() -> None:
    rollout = Rollout(sigmas=SIGMAS, gradient="all")
    state = started(rollout)
    at(state, rollout, next(n for n in range(0, 800, 8) if at(state, rollout, n)[0] == 2))
    counted = watched(state)
    toy_step(state).x.sum()
    assert [graph for _, _, graph in counted.asked] == [True, True, True]


def test_a_student_with_a_second_time_is_asked_where_the_flow_ends() -> None:
    state, asked = started(Rollout(sigmas=SIGMAS)), []

    class Map(nn.Module):
        second_time = True

        def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, r: Any = None) -> Tensor:
            asked.append(r)
            return x / (1 + sigma)

    state.generator = Map()
    toy_step(state).x.sum()
    assert asked and set(asked) == {0.0}


# One x for all.


@pytest.mark.parametrize("drawn", ["batch", "row"])
def test_micro_batches_and_a_second_pass_change_nothing(drawn: str) -> None:
    """Dropout, an auxiliary term that sees all of x, and x made again for its gradient."""
    found = []
    for micro in (None, 4):
        run = {} if micro is None else {"micro_batch": micro}
        state = started(
            Rollout(sigmas=SIGMAS[:3], drawn=drawn), run=run, teacher_score={"network": UNET},
            generator={"dropout": 0.2}, auxiliary_loss=EL,
        )  # fmt: skip
        for _ in range(3):
            iterate(state)
        found.append(torch.cat([p.detach().flatten() for p in state.generator.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-11)


def test_the_second_pass_makes_the_last_call_alone() -> None:
    rollout = Rollout(sigmas=SIGMAS)
    state = started(rollout, run={"micro_batch": 4}, auxiliary_loss=EL)
    at(state, rollout, next(n for n in range(0, 800, 8) if at(state, rollout, n)[0] == 3))
    calls: list[bool] = []
    state.generator.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    turns.take(state, state.turns[0])
    assert calls.count(False) == 2 * 4 and calls.count(True) == 2  # two micro-batches


def test_a_critics_turn_sees_the_same_images() -> None:
    for start in ("noise", "data"):
        state = started(Rollout(sigmas=SIGMAS, start=start, drawn="row"))
        x = toy_step(state).x.detach()
        state.made.clear()
        other = Step(state, "critic", 0, 8, 8, same_images_as="generator")
        assert torch.equal(other.x, x) and not torch.equal(other.real, toy_step(state).real)
