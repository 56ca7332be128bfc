"""Everything a run needs to go on exactly, as tensors by name and JSON values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distillkit.api import Denoiser, InputError
from distillkit.train import host, shared
from distillkit.train.ranks import pieces
from distillkit.train.state import State


def capture(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by "<group>/<owner>/<name>", and the rest."""
    host.settle(state.device)  # what is on its way to the host would be read too early
    tensors: dict[str, Tensor] = {}
    for name, network in state.networks.items():
        tensors |= {f"networks/{name}/{key}": value for key, value in shared.own(network).items()}
        tensors |= {f"optimizers/{name}/{key}": value for key, value in state.updaters[name].tensors().items()}
    tensors |= {f"ema/generator/{key}": value for key, value in average(state).items()}
    for name, copy in state.copies.items():
        tensors |= {f"copies/{name}/{key}": value for key, value in shared.own(copy.module, copy.of).items()}
    tensors |= {f"balance/{name}/norms": value for name, value in state.balance.items()}
    kept: dict[str, dict[str, Any]] = {}
    for place, component in state.components.items():
        for key, value in component.state_dict().items():
            # Tensors go into safetensors, the rest into JSON: no pickle, which could run code when it is read.
            if isinstance(value, Tensor):
                tensors[f"components/{place}/{key}"] = value
            else:
                kept.setdefault(place, {})[key] = value
    # Device: its random numbers are others than another kind's for the same seed.
    # Threads: sums of another number of threads add up in another order, to other bits.
    meta = {
        "nimg": state.nimg, "iteration": state.iteration, "nonfinite": state.skips.in_a_row(), "skipped": state.skipped,
        "records": state.records.state(), "components": kept, "threads": torch.get_num_threads(),
        "device": state.device.type,
    }  # fmt: skip
    return tensors, meta


def restore(state: State, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Put a snapshot back. Raises InputError if it is of another recipe."""
    try:
        for name, network in state.networks.items():
            shared.load(network, under(tensors, f"networks/{name}/"))
            state.updaters[name].load(under(tensors, f"optimizers/{name}/"))
        take_average(state, state.average, tensors)
        for name, copy in state.copies.items():
            if found := under(tensors, f"copies/{name}/"):
                shared.load(copy.module, found, copy.of)
            elif not any(key.startswith("components/") and f"/{name}." in key for key in tensors):
                raise KeyError(f"no copy {name!r}")  # before 0.2 components kept their copies themselves
        state.balance = {key.split("/")[0]: value for key, value in under(tensors, "balance/").items()}
        for place, component in state.components.items():
            kept = {**meta["components"].get(place, {}), **under(tensors, f"components/{place}/")}
            component.load_state_dict(kept)
        state.records.load(meta["records"], state.device)
        state.nimg, state.iteration = meta["nimg"], meta["iteration"]
        state.skips.load(meta["nonfinite"], meta["skipped"])
    except (KeyError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"the checkpoint does not fit this recipe: {reason}") from error


def average(state: State) -> dict[str, Tensor]:
    """The average of the weights by name, without what it shares with the teacher."""
    return shared.own(state.average, state.networks["generator"])


def take_average(state: State, network: Denoiser, tensors: dict[str, Tensor]) -> None:
    """Put the average of a snapshot into `network`. Raises RuntimeError where it does not fit."""
    shared.load(network, under(tensors, "ema/generator/"), state.networks["generator"])


def cuts(state: State) -> Callable[[str], Tensor | None]:
    """By name in a snapshot: the tensor like which it is cut where ranks share networks; None for what is whole."""
    known = {key: tensor for key, tensor in capture(state)[0].items() if pieces.cut(tensor)}

    def like(key: str) -> Tensor | None:
        group, name, rest = (*key.split("/", 2), "", "")[:3]
        number, _, what = rest.partition("/")
        if group == "optimizers" and name in state.updaters and number.isdigit() and what != "step":
            p = state.updaters[name].params[int(number)]  # moments are there after the first step alone
            return p if pieces.cut(p) else None
        return known.get(key)

    return like


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
