"""The device that a run, a drawing or an export computes on."""

from __future__ import annotations

import re

import torch

from distillkit.api import UsageError


def pick_device(name: str, where: str = "run.device") -> torch.device:
    """The device of this name; "auto": a CUDA GPU where there is one. `where`: what the name is the value of.

    Raises UsageError for a device that torch does not see here, or that cannot compute what runs do.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind == "mps":  # losses and metrics are summed in float64, which Metal does not have
        raise UsageError(f'{where} = "{name}": Apple\'s GPUs have no float64, which sums need; write "cpu"')
    if not re.fullmatch(r"cpu|(cuda|xpu)(:\d+)?", name):
        raise UsageError(f'{where} = "{name[:40]}" is no device; write auto, cpu, cuda, cuda:1 or xpu')
    if kind != "cpu":
        torch_of_kind = getattr(torch, kind)
        count = torch_of_kind.device_count() if torch_of_kind.is_available() else 0
        if count <= int(number or 0):
            gpus = {0: "no GPU", 1: "1 GPU"}.get(count, f"{count} GPUs")
            raise UsageError(f'{where} = "{name}", but torch sees {gpus} of that kind here; write "cpu" or "auto"')
    return torch.device(name)
