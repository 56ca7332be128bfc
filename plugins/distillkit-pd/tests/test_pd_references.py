"""PD and TRACT against the authors' numbers: losses, gradients before and after clipping, the schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from distillkit_pd.chain import HIGHEST, LOWEST, cosine
from distillkit_pd.pd import Pd
from torch import Tensor, nn

from distillkit.testing import replayed, toy_state
from distillkit.train.state import State

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
Data = dict[str, Tensor]


class Vp(nn.Module):
    """x_0 = A sin(z) + B (1 + 0.02 logsnr) at z = x / sqrt(1 + sigma^2), as a denoiser."""

    def __init__(self, data: Data, of: str = "") -> None:
        super().__init__()
        self.A, self.B = (nn.Parameter(data[name + of].double()) for name in "AB")

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.A * (x / (1 + sigma**2).sqrt()).sin() + self.B * (1 - 0.04 * sigma.log())


class Edm(Vp):
    """D = A sin(x) + B (1 + 0.1 ln sigma)."""

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.A * x.sin() + self.B * (1 + 0.1 * sigma.log())


@pytest.fixture(scope="module")
def data() -> Data:
    with np.load(Path(__file__).parent / "data" / "progressive_io.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


def ready(data: Data, kind: type[Vp], last: int, keys: dict[str, Any]) -> tuple[Any, State]:
    """The method as the engine has set it up, on the reference's grid and with its networks."""
    sample = {"use": "ddim", "steps": last, "grid": "cosine"}
    shape = {"resolution": data["x"].shape[-1], "channels": data["x"].shape[1], "label_dim": 0}
    state = toy_state(dataset=shape, sample=sample, generator_loss=keys, run={"precision": "fp64"})
    loss: Any = state.components["generator_loss"]
    edm = kind is Edm
    loss.sigma = loss.grid(0.002 if edm else LOWEST, 80.0 if edm else HIGHEST).to(state.dtype)
    loss.self_teacher = kind(data, "s")
    state.generator = cast(Any, kind(data))
    return loss, state


def uniform(index: Tensor, n: int) -> Tensor:
    """Draws in [0,1) [N,1,1,1] that become whole numbers `index` of 0 ... n - 1."""
    return ((index + 0.5) / n).view(-1, 1, 1, 1)


def check(loss: Any, state: State, draws: list[Tensor], teacher: Vp, data: Data, tag: str) -> None:
    step = replayed(state, draws, real=data["x"].double())
    total = loss.generator_loss(state, step, cast(Any, teacher.requires_grad_(False))).mean()
    total.backward()
    student = cast(Any, state.generator)
    torch.testing.assert_close(total, data[f"{tag}_loss"].double(), **CLOSE)
    for name in "AB":
        want = data[f"{tag}_grad_{name}"].double()
        size = float(want.abs().max())
        torch.testing.assert_close(getattr(student, name).grad, want, rtol=1e-4, atol=1e-4 * size)


TAGS = [(1024, 512), (16, 2), (8, 1)]


@pytest.mark.parametrize(("T", "S"), TAGS)
def test_pds_loss_and_gradient_are_the_references(data: Data, T: int, S: int) -> None:
    loss, state = ready(data, Vp, S, {"use": "pd", "start": 2 * S, "end": S})
    tag = f"pd_T{T}_steps{S}"
    draws = [uniform(data[f"{tag}_draw00_randint"] - 1, S), data[f"{tag}_draw01_randn_like"]]
    check(loss, state, draws, Vp(data, "t"), data, tag)
    student = cast(Any, state.generator)
    torch.nn.utils.clip_grad_norm_(student.parameters(), Pd.recipe_defaults["generator"]["optimizer"]["clip_norm"])
    want = data[f"{tag}_grad_A_clipped"].double()
    torch.testing.assert_close(student.A.grad, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize(("T", "S"), TAGS)
def test_pds_networks_are_asked_what_the_references_are(data: Data, T: int, S: int) -> None:
    loss, state = ready(data, Vp, S, {"use": "pd", "start": 2 * S, "end": S})
    tag = f"pd_T{T}_steps{S}"
    teacher, student, asked = Vp(data, "t"), state.generator, []

    def noted(x: Tensor, sigma: Tensor, labels: Tensor | None, of: Any = teacher) -> Tensor:
        D = cast(Tensor, of(x, sigma))
        asked.append((x / (1 + sigma**2).sqrt(), -2 * sigma.log().flatten(), D.detach()))
        return D

    state.generator = cast(Any, lambda x, sigma, labels: noted(x, sigma, labels, student))

    draws = [uniform(data[f"{tag}_draw00_randint"] - 1, S), data[f"{tag}_draw01_randn_like"]]
    loss.generator_loss(state, replayed(state, draws, real=data["x"].double()), cast(Any, noted))
    assert len(asked) == 3
    for name, (z, logsnr, D) in zip(("teacher0", "teacher1", "student"), asked, strict=True):
        torch.testing.assert_close(z, data[f"{tag}_{name}_x"], **CLOSE)
        torch.testing.assert_close(logsnr, data[f"{tag}_{name}_logsnr"], rtol=6e-5, atol=1e-6)  # float32 limits there
        torch.testing.assert_close(D, data[f"{tag}_{name}_out"], **CLOSE)


@pytest.mark.parametrize(
    ("form", "schedule"),
    [("vp", (1024, 32, 1)), ("vp", (8, 1)), ("edm", (40, 1)), ("edm", (40, 8)), ("edm", (40, 4))],
)
def test_tracts_loss_and_gradient_are_the_references(data: Data, form: str, schedule: tuple[int, ...]) -> None:
    kind = {"vp": Vp, "edm": Edm}[form]
    keys = {"use": "tract", "form": form, "schedule": list(schedule)}
    loss, state = ready(data, kind, schedule[-1], keys)
    tag = "_".join(map(str, ("tract", form, *schedule)))
    T, S = schedule[:2]
    group, inner, n = (data[f"{tag}_draw0{k}_{what}"] for k, what in enumerate(("randint", "randint", "randn_like")))
    check(loss, state, [uniform(group - 1, S), uniform(inner, T // S), n], kind(data, "t"), data, tag)


def test_the_grids_are_the_references(data: Data) -> None:
    sigma = cosine(LOWEST, HIGHEST, 1000)
    logsnr = -2 * sigma[(data["cos_t"] * 1000).round().long()].log()
    torch.testing.assert_close(logsnr, data["cos_logsnr"], rtol=6e-5, atol=1e-6)
    loss, _ = ready(data, Edm, 1, {"use": "tract", "form": "edm", "schedule": [40, 1]})
    torch.testing.assert_close(loss.sigma, data["edm_sigma"], rtol=1e-9, atol=0)
