"""Writes snapshots in the layout of NVIDIA's persistent pickles, with anything put anywhere in them."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from distillkit_edm.networks import DdpmPP
from distillkit_edm.nvpickle import write
from distillkit_edm.precond import EdmPrecond
from torch import nn

CARD = {
    "network": {
        "use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [],
        "dropout": 0.0,
    },
    "resolution": 4, "channels": 1, "label_dim": 2,
}  # fmt: skip
SOURCE = "import os\nos.abort()  # the text of a module, which the official loader runs\n"


class Call:
    """Pickled as a call of the function that has this dotted name, when it is read."""

    def __init__(self, name: str, *args: Any, state: Any = None) -> None:
        self.name, self.args, self.state = name, args, state


def tiny_network() -> EdmPrecond:
    """The network of CARD: 72 tensors."""
    torch.manual_seed(0)
    keys = {"model_channels": 4, "channel_mult": (1,), "num_blocks": 1, "attn_resolutions": (), "dropout": 0.0}
    network = DdpmPP(DdpmPP.Config(**keys)).module(4, 1, 2)
    network.card = CARD
    return network


def snapshot(
    network: nn.Module | None = None, change: Callable[[dict[str, Any]], None] | None = None, **extra: Any
) -> bytes:
    """The pickle of {"ema": network, "loss_fn": None, **extra}; `change` may edit the description of `ema`."""
    network = tiny_network() if network is None else network
    table = {"before": extra.pop("before", None), "ema": network, "loss_fn": None, **extra}
    return dumped(table, change)


def dumped(value: Any, change: Callable[[dict[str, Any]], None] | None = None) -> bytes:
    """A pickle in which modules are written as NVIDIA's persistence writes them, and Calls as calls."""
    out = io.BytesIO()
    Hostile(out, change).dump(value)
    return out.getvalue()


class Hostile(write.Writer):
    """Writes Calls too, and text that must never run as the source of modules."""

    def __init__(self, out: io.BytesIO, change: Callable[[dict[str, Any]], None] | None) -> None:
        super().__init__(out)
        self.change = change

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Call):
            return (write.Name(value.name), value.args, *([] if value.state is None else [value.state]))
        if isinstance(value, nn.Module) and not isinstance(value, nn.ModuleDict):
            meta = described(value)
            if meta["class_name"] == "EDMPrecond" and self.change:
                self.change(meta)
            return write.Name("torch_utils.persistence._reconstruct_persistent_obj"), (meta,)
        return super().reducer_override(value)


def described(module: nn.Module) -> dict[str, Any]:
    """What NVIDIA's persistence writes of a module."""
    return {**write.described(module), "module_src": SOURCE}
