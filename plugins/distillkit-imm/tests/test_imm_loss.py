"""IMM against the authors' coefficients and samplers, and the paper's Eq. (67)."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_imm.imm import Imm
from distillkit_imm.times import weight
from torch import Tensor, nn

from distillkit.recipe import RecipeProblems
from distillkit.testing import replayed, toy_state
from distillkit.train.state import State

DATA = Path(__file__).parent / "data"
SD = 0.5
CIFAR: dict[str, Any] = {}
LATENTS: dict[str, Any] = {"k": 12.0, "eps": 0.0, "b": 4.0, "form": "euler-fm"}
SETTINGS = {"cifar": CIFAR, "im256_a1": LATENTS, "im256_a2": {**LATENTS, "a": 2.0}}
STEPS = ("push1", "push4", "push2_mid", "push4_edm", "restart4")
FORMS = ("cifar", "im256", "cosine_identity", "cosine_edm")


def load(name: str) -> dict[str, Tensor]:
    with np.load(DATA / f"{name}.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])).double() for key in data.files}


class Stub(nn.Module):
    """D of F = A sin(c_in x) + B (1 + t + s / 2) + 0.05 class in one of the authors' forms; `gap`: t - s for s."""

    sigma_min, sigma_max, augment_dim, second_time = 0.0, math.inf, 0, True

    def __init__(self, data: dict[str, Tensor], form: str, gap: bool) -> None:
        super().__init__()
        self.A, self.B = nn.Parameter(data["A"].clone()), nn.Parameter(data["B"].clone())
        self.form, self.gap = form, gap

    def time(self, level: Tensor | float) -> Tensor:
        level = torch.as_tensor(level, dtype=torch.float64)
        return torch.atan(level / SD) * 2 / math.pi if self.form.startswith("cosine") else level / (SD + level)

    def forward(self, z: Tensor, sigma: Tensor, labels: Any = None, augmented: Any = None, *, r: Any = None) -> Tensor:
        t, s, width = self.time(sigma), self.time(r), (sigma**2 + SD**2) ** 0.5
        number = 0.0 if labels is None else labels.argmax(1).view(-1, 1, 1, 1)
        F = self.A * (z / width).sin() + self.B * (1 + t + 0.5 * (t - s if self.gap else s)) + 0.05 * number
        if self.form == "cosine_identity":
            return F
        return (1 - t) * z - t * SD * F if self.form == "im256" else SD**2 / width**2 * z - sigma * SD / width * F


def state_of(**tables: Any) -> State:
    base = {
        "run": {"precision": "fp64", "batch": 8}, "dataset": {"resolution": 8, "channels": 3, "label_dim": 0},
        "generator": {"init": "scratch", "network": {"use": "mlp", "width": 4, "depth": 1}},
    }  # fmt: skip
    return toy_state(**{"generator_loss": {"use": "imm"}} | base | tables)


def of_groups(loss: Imm, t: Tensor, s: Tensor, n: Tensor) -> list[Tensor]:
    """Draws that are these times of the groups, and the noise; all but a group's first are not looked at."""
    low, high = loss.times
    rows = torch.zeros(2, len(n), 1, 1, 1, dtype=torch.float64)
    rows[:, :: loss.config.M, 0, 0, 0] = torch.stack([(t - low) / (high - low), (s - low) / (t - low)])
    return [*rows, n]


@pytest.mark.parametrize("tag", SETTINGS)
def test_times_weights_loss_and_gradients_are_the_papers(tag: str) -> None:
    data = load("imm_loss_own_io")
    want = {key.removeprefix(f"{tag}_"): value for key, value in data.items() if key.startswith(f"{tag}_")}
    n = data["eps"] / SD  # recorded with the deviation of the data
    state = state_of(generator_loss={"use": "imm", **SETTINGS[tag]})
    loss: Imm = state.components["generator_loss"]  # type: ignore[assignment]
    net = Stub(data, tag.split("_", maxsplit=1)[0], gap=tag == "im256_a2")
    state.generator = net  # type: ignore[assignment]
    t, r, s = loss.draw(replayed(state, of_groups(loss, want["t"], want["s"], n), real=data["x"]))
    for found, one in ((t, "t"), (r, "r"), (s, "s"), (weight(t, loss.config.a, loss.config.b), "weight")):
        torch.testing.assert_close(found.flatten(), want[one].repeat_interleave(4), rtol=1e-5, atol=1e-9)
    per_image = loss.generator_loss(state, replayed(state, of_groups(loss, want["t"], want["s"], n), real=data["x"]))
    per_image.mean().backward()
    torch.testing.assert_close(per_image, want["loss_per_group"].repeat_interleave(4), rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(per_image.mean(), want["loss"], rtol=1e-4, atol=0)
    for found, one in ((net.A.grad, "grad_A"), (net.B.grad, "grad_B")):
        torch.testing.assert_close(found, want[one], rtol=1e-4, atol=1e-5 * float(want[one].abs().max()))
    with torch.no_grad():
        for at, one in ((t, "y_t"), (r, "y_r")):
            found = loss.f(state, data["x"] + loss.sigma(at) * n, at, s, None, None)
            torch.testing.assert_close(found, want[one], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tag", FORMS)
def test_a_jump_is_the_authors_in_all_their_forms(tag: str) -> None:
    """On the cosine path a noise level has another time and x_t another scale."""
    data = load("imm_io")
    net = Stub(data, tag, gap=tag in ("im256", "cosine_edm"))
    a, rho = data[f"{tag}_alpha"], level(tag, data["s"])
    sigma = SD * data[f"{tag}_sigma"] / a
    torch.testing.assert_close(net.time(sigma), data["t"])
    torch.testing.assert_close(2 * (SD / sigma).log(), data[f"{tag}_logsnr"])
    state = state_of()
    state.generator = net  # type: ignore[assignment]
    t, s = (one / (SD + one) for one in (sigma, rho))
    labels = data["labels"] if tag == "im256" else None
    loss: Imm = state.components["generator_loss"]  # type: ignore[assignment]
    found = loss.f(state, data["x"] / a, t, s, labels, None) / (1 - s) * alpha(tag, data["s"])
    torch.testing.assert_close(found, data[f"{tag}_f_st"], rtol=1e-4, atol=1e-6)
    y = data["y"]
    ddim = alpha(tag, data["s"]) * (y + rho / sigma * (data["x"] / a - y))
    torch.testing.assert_close(ddim, data[f"{tag}_ddim"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        a * (y + sigma / SD * data[f"{tag}_noise"]), data[f"{tag}_add_noise"], rtol=1e-4, atol=1e-6
    )


def test_both_groups_have_the_same_labels_and_masks_of_dropout() -> None:
    data, asked = load("imm_loss_own_io"), []

    class Noting(Stub):
        def forward(self, z: Tensor, sigma: Tensor, labels: Any = None, augmented: Any = None, *, r: Any = None) -> Any:
            asked.append((labels, torch.rand(3)))
            return super().forward(z, sigma, labels, augmented, r=r)

    state = state_of(generator_loss={"use": "imm", "label_dropout": 0.25})
    state.generator = Noting(data, "cifar", gap=False)  # type: ignore[assignment]
    n = len(data["x"])
    rows = torch.linspace(0.05, 0.95, n, dtype=torch.float64)
    draws = [rows.view(-1, 1, 1, 1), rows.view(-1, 1, 1, 1), torch.randn_like(data["x"]), rows.view(-1, 1)]
    step: Any = replayed(state, draws, real=data["x"])
    step.labels = torch.eye(n, dtype=torch.float64)
    state.components["generator_loss"].generator_loss(state, step)  # type: ignore[attr-defined]
    (labels, mask), (same_labels, same_mask) = asked
    assert torch.equal(labels, same_labels) and torch.equal(mask, same_mask)
    assert torch.equal(labels.sum(1) == 0, rows < 0.25)


def test_a_step_too_small_for_numbers_is_refused() -> None:
    with pytest.raises(RecipeProblems, match=r"k.*must be <= 30"):
        state_of(generator_loss={"use": "imm", "k": 31.0})


def alpha(tag: str, t: Tensor) -> Tensor:
    return torch.cos(math.pi / 2 * t) if tag.startswith("cosine") else 1 - t


def level(tag: str, t: Tensor) -> Tensor:
    return SD * torch.tan(math.pi / 2 * t) if tag.startswith("cosine") else SD * t / (1 - t)


@pytest.mark.parametrize(("tag", "steps"), [case for case in product(FORMS, STEPS) if case != ("im256", "push4_edm")])
def test_samplers_are_the_authors(tag: str, steps: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("imm_io")
    T, eps = torch.tensor([0.994, 0.0 if tag == "im256" else 0.006], dtype=torch.float64)
    top, end = float(level(tag, T)), float(level(tag, eps))
    times = torch.linspace(float(T), float(eps), (1 if steps == "push1" else 4) + 1, dtype=torch.float64)[:-1]
    even = [float(level(tag, one)) for one in times]
    keys: dict[str, Any] = {
        "push4_edm": {"grid": "rho", "steps": 4},
        "push2_mid": {"sigmas": [top, 1.4 * SD]},
        "restart4": {"sigmas": even, "gamma": 1.0},
    }.get(steps, {"grid": "flow", "steps": len(even)} if tag == "cifar" else {"sigmas": even})
    # What is left of x at the end, 1 - eps on the path of flow matching, where sigma = t / (1 - t) / 2.
    shift = float(end * alpha(tag, eps) / (1 - alpha(tag, eps))) if end else SD
    guidance = 1.5 if tag == "im256" else 1.0
    state = state_of(
        sample={"use": "flow-map", "sigma_max": top, "end": end, "shift": shift, "guidance": guidance, **keys}
    )
    state.generator = Stub(data, tag, gap=tag in ("im256", "cosine_edm"))  # type: ignore[assignment]
    noise = [data.get(f"{tag}_restart4_draw{i:02}_randn_like") for i in range(3)]
    monkeypatch.setattr("distillkit.builtin.flow_map.own_noise", lambda z, seed: noise.__getitem__)
    z = data[f"{tag}_z"] / (alpha(tag, T) * top)  # theirs is x_T itself
    with torch.no_grad():
        x = state.hook.sample(state=state, z=z, labels=data["labels"] if tag == "im256" else None)
    torch.testing.assert_close(x, data[f"{tag}_{steps}"], rtol=1e-4, atol=1e-6)
