"""A student's adapters on disk, apart from the weights that it shares with its teacher: PEFT's two files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import nn

from distillkit.api import Adapter, Choice, InputError
from distillkit.disk.files import write_atomic, write_json
from distillkit.disk.manifest import vouched

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"  # as PEFT calls them
BASE = "base_sha256"  # in the config: of the names, shapes and bytes of the weights beside them
PREFIX = "base_model.model."


def save(folder: Path, choice: Choice[Adapter], network: Any, shared: Collection[str], base: str) -> None:
    """Write what the adapter has in the network, and all else that trained; `shared` are names of what did not.

    The config names the `base` by what the recipe calls it and by its sum.
    """
    config, tensors = choice.build().saved(cast(nn.Module, network))
    known = {tensor.data_ptr() for tensor in tensors.values()}
    own = {name: p for name, p in network.named_parameters() if name not in shared and p.data_ptr() not in known}
    tensors |= {PREFIX + name: p.detach() for name, p in own.items()}  # further inputs
    whole = network.state_dict()
    told = {BASE: digest({name: whole[name] for name in shared}), "base_model_name_or_path": base or None}
    plain = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    write_atomic(folder / WEIGHTS, safetensors.torch.save(plain, metadata={"format": "pt"}))
    write_json(folder / CONFIG, config | told)


def digest(tensors: dict[str, Any]) -> str:
    """sha256 of tensors by name."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().contiguous().cpu()
        found.update(f"{name} {list(plain.shape)} {plain.dtype}\n".encode())
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Config and tensors of a result. Raises InputError where it has no adapters, or they are damaged."""
    files = folder / CONFIG, folder / WEIGHTS
    if not all(file.is_file() for file in files):
        raise InputError(f"{folder} has no adapters: its run trained all weights ([generator.adapter])")
    try:
        for file in files:
            vouched(file)
        config: dict[str, Any] = json.loads(files[0].read_bytes())
        return config, safetensors.torch.load_file(files[1])
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{folder}: damaged adapters ({error})") from error
