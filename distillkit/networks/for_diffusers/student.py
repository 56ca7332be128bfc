"""A student of distillkit as a graph of torch.export, for diffusers; needs torch alone."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass


class Student(nn.Module):
    """Network and sampler: unit normal z [N,C,H,W], labels [N,L] where there are any -> x [N,C,H,W] in [-1,1]."""

    dtype = torch.float32

    def __init__(self, program: ExportedProgram, config: dict[str, Any]) -> None:
        super().__init__()
        self.config, self.device = config, torch.device("cpu")
        self._hold(program)

    @classmethod
    def from_pretrained(cls, folder: str, **_: object) -> "Student":
        """Read student.pt2 and config.json; whatever else diffusers asks for does not apply to a graph."""
        config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        return cls(torch.export.load(Path(folder, "student.pt2")), config)

    def _hold(self, program: ExportedProgram) -> None:
        self.program, self.graph = program, program.module()

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        x: Tensor = self.graph(z) if labels is None else self.graph(z, labels)
        return x

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None, **_: object) -> "Student":  # type: ignore[override]
        """The same on another device; constants in the graph move too."""
        if dtype not in (None, self.dtype):
            raise ValueError(f"this student computes in {self.dtype} alone, {dtype} was asked for")
        if device is not None and torch.device(device) != self.device:
            self.device = torch.device(device)
            self._hold(move_to_device_pass(self.program, self.device))
        return self

    def train(self, mode: bool = True) -> "Student":
        """A graph has one mode: that of sampling."""
        return self
