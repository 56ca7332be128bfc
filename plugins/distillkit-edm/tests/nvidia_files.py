"""Writes snapshots in the layout of NVIDIA's persistent pickles, with anything put anywhere in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import torch
from distillkit_edm.networks import DdpmPP
from distillkit_edm.precond import EdmPrecond
from torch import nn

ARGUMENTS = {
    "img_resolution": 4, "img_channels": 1, "label_dim": 2, "use_fp16": False, "model_type": "SongUNet",
    "model_channels": 4, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
CLASSES = {"EdmPrecond": "EDMPrecond"}
SOURCE = "import os\nos.abort()  # the text of a module, which the official loader runs\n"


class Call:
    """Pickled as a call of the function that has this dotted name, when it is read."""

    def __init__(self, name: str, *args: Any, state: Any = None) -> None:
        self.name, self.args, self.state = name, args, state


def tiny_network() -> EdmPrecond:
    """The network that ARGUMENTS describe: 72 tensors."""
    torch.manual_seed(0)
    keys = {"model_channels": 4, "channel_mult": (1,), "num_blocks": 1, "attn_resolutions": (), "dropout": 0.0}
    return DdpmPP(DdpmPP.Config(**keys)).module(4, 1, 2)


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
    Writer(out, change).dump(value)
    return out.getvalue()


class Name:
    """Pickled as a global of this dotted name, which need not exist."""

    def __init__(self, dotted: str) -> None:
        self.dotted = dotted

    def __call__(self) -> None:
        raise AssertionError("only ever written")


class Writer(pickle._Pickler):  # the one in Python, which can be told how to write a name
    def __init__(self, out: io.BytesIO, change: Callable[[dict[str, Any]], None] | None) -> None:
        super().__init__(out, protocol=4)
        self.change = change

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Name):
            return value.dotted
        if isinstance(value, Call):
            return (Name(value.name), value.args, *([] if value.state is None else [value.state]))
        if isinstance(value, nn.Module) and not isinstance(value, nn.ModuleDict):
            meta = described(value)
            if meta["class_name"] == "EDMPrecond" and self.change:
                self.change(meta)
            return Name("torch_utils.persistence._reconstruct_persistent_obj"), (meta,)
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if isinstance(obj, Name):
            for part in obj.dotted.rpartition(".")[::2]:
                self.save(part)
            self.write(pickle.STACK_GLOBAL)
            self.memoize(obj)
        else:
            super().save_global(obj, name)


def described(module: nn.Module) -> dict[str, Any]:
    """What NVIDIA's persistence writes of a module."""
    name = type(module).__name__
    kept = ("training", "_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")
    state = {key: value for key, value in vars(module).items() if key in kept}
    state |= {"_forward_hooks": {}, "_init_args": (), "_init_kwargs": dict(ARGUMENTS if name in CLASSES else {})}
    return {
        "type": "class", "version": 6, "module_src": SOURCE, "class_name": CLASSES.get(name, name), "state": state,
    }  # fmt: skip
