"""The networks of rCM's recorded numbers, those of a Gaussian in closed form, and rCM as the engine sets it up."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from distillkit_scm.rcm import Rcm
from torch import Tensor, nn

from distillkit.testing import toy_state
from distillkit.train.state import State

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
JVP: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}
ROLLOUT: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-3}
FAR = 1e9  # tan of what is nearly a right angle: where a rollout begins
Data = dict[str, Tensor]


def numbers() -> Data:
    """The authors' numbers; images are [N,C,1,H,W] there, one frame."""
    with np.load(Path(__file__).parent / "data" / "rcm_io.npz") as data:
        found = {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}
    return {key: one.squeeze(-3) if one.ndim >= 4 else one for key, one in found.items()}


class Flow(nn.Module):
    """v = A sin(x) + B (1 + t') + c / 20 at time t' of a straight path, as a denoiser with S = 1.

    v is rounded to float32 as there, where it `rounds`: a difference over 1e-4 makes that 1e-3.
    """

    sigma_min, sigma_max, sigma_data = 0.0, math.inf, 1.0
    compute_dtype: Any = None

    def __init__(self, data: Data, of: str = "") -> None:
        super().__init__()
        self.A, self.B = (nn.Parameter(data[f"{name}{of}"].double()) for name in "AB")
        self.rounds = False
        self.asked: list[tuple[Tensor, ...]] = []

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=torch.float64).expand(len(x), 1, 1, 1)
        x, t = x / (1 + sigma), sigma / (1 + sigma)
        labels = -x.new_ones(1) if labels is None else labels
        kind = torch.float32 if self.rounds else torch.float64
        A, B, at, u, c = (one.to(kind) for one in (self.A, self.B, x, t, labels.view(-1, 1, 1, 1)))
        v: Tensor = A * at.sin() + B * (1 + u) + 0.05 * c
        D = x - t * v
        self.asked.append((cosine(sigma) * x * (1 + sigma), sigma.atan().view(-1, 1), D))
        return D

    def guided(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.lerp(self(x, sigma, None), self(x, sigma, labels), 5.0)


def cosine(sigma: Tensor) -> Tensor:
    return 1 / (1 + sigma**2).sqrt()


def told(network: Flow, call: int, data: Data, **names: str) -> None:
    """A call's point in TrigFlow's form, its angle and what came out are those recorded under these names."""
    for found, name in zip(network.asked[call], ("x", "time", "D"), strict=True):
        if name in names:
            torch.testing.assert_close(found.detach(), data[names[name]].double(), **ROLLOUT)


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


class Map(nn.Module):
    """The consistency function of N(0.3, 0.4), with `off` times its variance; 1: the true one."""

    sigma_min, sigma_max, sigma_data = 0.0, math.inf, 0.5
    compute_dtype: Any = None

    def __init__(self, off: float = 1.0) -> None:
        super().__init__()
        self.m, self.off = nn.Parameter(torch.tensor(0.3, dtype=torch.float64)), off

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        assert bool((sigma > 0).all())
        v = 0.4 * self.off
        return self.m + (x - self.m) * (v / (v + sigma**2)).sqrt()


def denoised(x: Tensor, sigma: Tensor, labels: Tensor | None = None, v: float = 0.4) -> Tensor:
    """D of N(0.3, v)."""
    return (v * x + sigma**2 * 0.3) / (v + sigma**2)
