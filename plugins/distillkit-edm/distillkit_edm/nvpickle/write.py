"""Writes a network in the layout of NVIDIA's persistent pickles, for smoke runs and tests of the reader."""

from __future__ import annotations

import io
import pickle
from typing import Any

from torch import nn

from distillkit.api import Rebuildable
from distillkit_edm.nvpickle.architecture import LISTS, REALS, STYLES, WHOLE
from distillkit_edm.nvpickle.symbols import PERSISTENT

CLASSES = {"EdmPrecond": "EDMPrecond", "Edm2Precond": "Precond", "Edm2UNet": "UNet"}  # ours -> theirs, where it differs
KEPT = ("training", "_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")


class Name:
    """Pickled as a global of this dotted name, which need not exist."""

    def __init__(self, dotted: str) -> None:
        self.dotted = dotted

    def __call__(self) -> None:
        raise AssertionError("only ever written")


class Writer(pickle._Pickler):  # the one in Python, which can be told how to write a name
    """Modules are written as NVIDIA's persistence writes them: class name, text of their source, attributes."""

    def __init__(self, out: io.BytesIO) -> None:
        super().__init__(out, protocol=4)

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Name):
            return value.dotted
        if isinstance(value, nn.Module) and not isinstance(value, nn.ModuleDict):
            return Name(PERSISTENT), (described(value),)
        return NotImplemented

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if isinstance(obj, Name):
            for part in obj.dotted.rpartition(".")[::2]:
                self.save(part)  # type: ignore[attr-defined] # typeshed leaves out what _Pickler has, here and below
            self.write(pickle.STACK_GLOBAL)  # type: ignore[attr-defined]
            self.memoize(obj)  # type: ignore[attr-defined]
        else:
            super().save_global(obj, name)  # type: ignore[misc]


def described(module: nn.Module) -> dict[str, Any]:
    """What NVIDIA's persistence writes of a module."""
    card = module.card if isinstance(module, Rebuildable) else None
    state = {key: value for key, value in vars(module).items() if key in KEPT}
    state |= {"_forward_hooks": {}, "_init_args": (), "_init_kwargs": {} if card is None else arguments(card)}
    name = type(module).__name__
    return {"type": "class", "version": 6, "module_src": "", "class_name": CLASSES.get(name, name), "state": state}


def arguments(card: dict[str, Any]) -> dict[str, Any]:
    """The constructor's arguments of the network that a card describes: the reverse of `card_of`."""
    network = card["network"]
    given = {"img_resolution": card["resolution"], "img_channels": card["channels"], "label_dim": card["label_dim"]}
    given |= {key: list(value) for key, value in network.items() if key in LISTS}
    given |= {key: value for key, value in network.items() if key in WHOLE or key in REALS}
    if network["use"] == "edm2":
        largest = given.pop("dropout_resolution", None)
        return given if largest is None else {**given, "dropout_res": largest}
    unet = "DhariwalUNet" if network["use"] == "edm-adm" else "SongUNet"
    return {**given, "use_fp16": False, "model_type": unet, **STYLES.get(network["use"], {})}


def pickled(network: nn.Module) -> bytes:
    """A snapshot {"ema": network}; the network has a card, and EDM's form."""
    out = io.BytesIO()
    Writer(out).dump({"ema": network, "loss_fn": None})
    return out.getvalue()
