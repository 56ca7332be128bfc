"""A student's adapters on disk, apart from the weights that it shares with its teacher: PEFT's two files."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import nn

from distillkit.api import Adapter, Choice, InputError
from distillkit.disk.files import write_atomic, write_json
from distillkit.disk.manifest import vouched
from distillkit.networks.stored import in_order

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"  # as PEFT calls them
BASE = "base_sha256"  # in the file of weights: of the names, shapes and bytes of those that they stand beside
PREFIX = "base_model.model."


def save(folder: Path, choice: Choice[Adapter], network: Any, shared: Collection[str], base: str) -> None:
    """Write what the adapter has in the network, and all else that trained; `shared` are names of what did not.

    The config names the `base` as the recipe does; its sum is in the file's metadata, for PEFT warns of keys that it
    does not know.
    """
    config, tensors = choice.build().saved(cast(nn.Module, network))
    known = {tensor.data_ptr() for tensor in tensors.values()}
    own = {name: p for name, p in network.named_parameters() if name not in shared and p.data_ptr() not in known}
    tensors |= {PREFIX + name: p.detach() for name, p in own.items()}  # further inputs
    whole = network.state_dict()
    told = {"format": "pt", BASE: digest({name: whole[name] for name in shared})}
    plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    write_atomic(folder / WEIGHTS, in_order(safetensors.torch.save(plain, metadata=told)))
    write_json(folder / CONFIG, config | {"base_model_name_or_path": base or None})


def digest(tensors: dict[str, Any]) -> str:
    """sha256 of tensors by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().contiguous().cpu()
        found.update(f"{name} {list(plain.shape)} {plain.dtype}\n".encode())
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def apart(folder: Path, out: Path) -> str:
    """Copy the adapters of a result to the folder `out`, as PEFT reads it -> the sum of the weights beside them.

    Raises InputError where the result has none, or they are damaged.
    """
    files = folder / CONFIG, folder / WEIGHTS
    if not all(file.is_file() for file in files):
        raise InputError(f"{folder} has no adapters: its run trained all weights, without [generator.adapter]")
    try:
        for file in files:
            vouched(file)
        with safetensors.safe_open(files[1], "pt") as opened:
            base = opened.metadata()[BASE]
    except (OSError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder}: damaged adapters ({error})") from error
    for file in files:
        shutil.copyfile(file, out / file.name)
    return str(base)
