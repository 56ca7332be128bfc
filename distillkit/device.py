"""The device that a run, a drawing or an export computes on."""

from __future__ import annotations

import torch

from distillkit.api import UsageError


def pick_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError('run.device = "cuda", but torch sees no GPU here; write "cpu" or "auto"')
    return torch.device(name)
