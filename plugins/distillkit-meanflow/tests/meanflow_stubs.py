"""The networks of the recorded numbers of MeanFlow and improved MeanFlow, and steps that replay their draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from distillkit_meanflow.imf import Imf
from distillkit_meanflow.meanflow import MeanFlow
from torch import Tensor, nn

from distillkit.testing import replayed, toy_state

Data = dict[str, Tensor]
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}
NONE = -1.0  # the number of the label that is none, in these stubs


def numbers() -> dict[str, Data]:
    """The files' numbers, in float64."""
    found: dict[str, Data] = {}
    for name in ("meanflow", "imf"):
        with np.load(Path(__file__).parent / "data" / f"{name}_io.npz") as file:
            found[name] = {key: torch.from_numpy(np.asarray(file[key], np.float64)) for key in file.files}
    return found


def numbered(labels: Tensor | None, z: Tensor) -> Tensor:
    """Number of each row's class [N,1,1,1]."""
    if labels is None:
        return z.new_full((len(z), 1, 1, 1), NONE)
    number = torch.where(labels.sum(1) > 0, labels.argmax(1).to(z), z.new_tensor(NONE))
    return number.view(-1, 1, 1, 1)


class Stub(nn.Module):
    """u = A sin(z) + B (1 + t - r/2 + t r) + 0.05 label, as a denoiser; `calls`: whether it was in training mode."""

    sigma_min, sigma_max, second_time = 0.0, float("inf"), True

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.A, self.B = nn.Parameter(A.clone()), nn.Parameter(B.clone())
        self.calls: list[bool] = []
        self.told = torch.empty(0)  # numbers of the labels of the last call

    def u(self, z: Tensor, t: Tensor, r: Tensor, labels: Tensor | None) -> Tensor:
        return self.A * z.sin() + self.B * (1 + t - r / 2 + t * r) + 0.05 * numbered(labels, z)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, r: Any = None) -> Tensor:
        self.calls.append(self.training)
        self.told = numbered(labels, x)
        z, t, r = onto_path(x, sigma, r)
        return z - t * self.u(z, t, r, labels)


class TwoHeads(nn.Module):
    """iMF's: u also sees 0.02 omega + 0.1 t_min - 0.1 t_max, and v = Av cos(z) + Bv (1 + t) + ..."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.A, self.B, self.Av, self.Bv = (nn.Parameter(data[name].clone()) for name in ("A", "B", "Av", "Bv"))

    def heads(self, x: Tensor, sigma: Tensor, labels: Tensor | None, r: Any, guidance: Tensor) -> tuple[Tensor, Tensor]:
        z, t, r = onto_path(x, sigma, r)
        omega, t_min, t_max = guidance[:, :, None, None, None].unbind(1)
        label = numbered(labels, z)
        u = self.A * z.sin() + self.B * (1 + t - r / 2 + t * r) + 0.05 * label + 0.02 * omega + 0.1 * (t_min - t_max)
        v = self.Av * z.cos() + self.Bv * (1 + t) + 0.03 * label + 0.01 * omega
        return z - t * u, z - t * v


def onto_path(x: Tensor, sigma: Tensor, r: Any) -> tuple[Tensor, Tensor, Tensor]:
    """z, t and r of a call."""
    t = sigma / (1 + sigma)
    return (1 - t) * x, t, t if r is None else r / (1 + r)


def draws(data: Data, tag: str) -> list[Tensor]:
    """All that were recorded, a number per image as [N,1,1,1]."""
    names = sorted(name for name in data if name.startswith(f"{tag}_draw"))
    return [data[name] if data[name].ndim == 4 else data[name].view(-1, 1, 1, 1) for name in names]


def ready(use: str, keys: dict[str, Any], student: nn.Module) -> tuple[Any, Any]:
    """The method, and what it asks of a run, whose student this is."""
    loss = MeanFlow(MeanFlow.Config(**keys)) if use == "meanflow" else Imf(Imf.Config(**keys))
    seen = SimpleNamespace(generator=student, nimg=2500, batch=8, micro_batch=8, record=lambda name, value: None)
    return loss, seen


def replay(draws: Sequence[Tensor], real: Tensor | None = None, labels: Tensor | None = None) -> Any:
    """A step in float64."""
    made: Any = replayed(toy_state(run={"precision": "fp64"}), draws, None, real)
    made.labels = labels
    return made


def meanflow_step(data: Data, tag: str) -> Any:
    """The engine's order of draws: t, r, which have r = t, noise, which lose their label."""
    if tag.startswith("py"):
        noise, *times = draws(data, tag)
        labels = torch.eye(4, dtype=torch.float64)[torch.zeros(len(noise), dtype=torch.int64)]
        return replay([*times, noise], data["real"], labels)
    t, r, same, *rest = draws(data, tag)
    labels = torch.eye(len(t), dtype=torch.float64)[data["condition"].long()]
    return replay([t, r, 1 - same, *rest], data["real"], labels)  # it counts those above the ratio


def grad(p: nn.Parameter) -> Tensor:
    assert p.grad is not None
    return p.grad


def watched(step: Any) -> dict[str, Tensor]:
    """What the step's derivative will be asked for and will find, by the names of the recorded numbers."""
    made: Data = {}
    plain = step.jvp

    def jvp(u: Any, at: Any, along: Any, ends: Any = None) -> Any:
        value, derivative = plain(u, at, along, ends)
        made.update(x_t=at[0], t=at[1], dxt_dt=along[0], u_theta=value.detach(), u_theta_jvp=derivative)
        return value, derivative

    step.jvp = jvp
    return made


def parts(loss: Any, state: Any, step: Any, made: Data) -> Data:
    """The other numbers of a pass whose derivative was watched."""
    c, (t, r) = loss.config, loss.config.draw(state, step)
    n, u, rise = (
        step.randn_like(step.real),
        made["u_theta"],
        min(state.nimg / 1000 / c.warmup_kimg, 1) if c.warmup_kimg else 1,
    )
    target = made["dxt_dt"] - rise * (t - r) * made["u_theta_jvp"]
    g = (target - u) / (u[0].numel() ** 0.5 if c.per_pixel else 1)
    size = g.flatten(1).norm(dim=1) if c.form == "tangent" else g.square().flatten(1).sum(1)
    return {
        "r": r,
        "tangent": g if c.form == "tangent" else target,
        "weight": 1 / loss.divisor(size),
        "v_loss": (u - (n - step.real)).square().mean(),
        "tangent_warmup_weight": torch.tensor(rise).double(),
    }
