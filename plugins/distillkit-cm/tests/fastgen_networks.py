"""The recorded numbers of FastGen's consistency models and of TCM's authors, and the network that they were made by."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

Data = dict[str, Tensor]


class Stub(nn.Module):
    """D = A sin(x) + B (1 + 0.1 ln sigma) + 0.05 condition, the labels; keeps what went in and out."""

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.A, self.B, self.calls = nn.Parameter(A.double()), nn.Parameter(B.double()), []

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        D = self.A * x.sin() + self.B * (1 + 0.1 * sigma.log()) + 0.05 * labels.view(-1, 1, 1, 1)
        self.calls.append(SimpleNamespace(x=x, sigma=sigma, D=D))
        return D


def recorded() -> Data:
    with np.load(Path(__file__).parent / "data" / "tcm_io.npz") as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


def of(data: Data, tag: str) -> Data:
    return {key.removeprefix(f"{tag}_"): value for key, value in data.items() if key.startswith(f"{tag}_")}


def networks(data: Data, other: str) -> tuple[Stub, Stub]:
    """The student, and one that does not train: the teacher "t", or the first stage "c"."""
    student, frozen = (Stub(data[f"A{which}"], data[f"B{which}"]) for which in ("", other))
    return student, frozen.requires_grad_(False)


def same_gradients(student: Stub, want: Data) -> None:
    for name in ("A", "B"):
        size = float(want[f"grad_{name}"].abs().max())
        found = getattr(student, name).grad.float()
        torch.testing.assert_close(found, want[f"grad_{name}"], rtol=1e-4, atol=1e-4 * size)
