"""Weights cached by content: safetensors plus a JSON record with their sha256."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor


def digest(weights: Mapping[str, Tensor]) -> str:
    """sha256 of the tensors' names, types, shapes and bits, in whatever file and order they are kept."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def load(path: Path) -> dict[str, Tensor] | None:
    """Weights saved at `path`; None when there are none, or with a warning when they are damaged."""
    record = path.with_suffix(".json")
    try:
        if not path.exists() and not record.exists():
            return None
        raw = path.read_bytes()
        stated = json.loads(record.read_text())["sha256"]
        found = hashlib.sha256(raw).hexdigest()
        problem = None if stated == found else f"its sha256 is {found}, {record.name} says {stated}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is None:
        return safetensors.torch.load(raw)
    warnings.warn(f"{path}: cached tensors are damaged ({problem}); computing them again", stacklevel=2)
    return None


def save(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights, then the record; both appear whole or not at all. Without room for them: a warning."""
    raw = safetensors.torch.save(weights)
    record = {**about, "sha256": hashlib.sha256(raw).hexdigest()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, raw)
        _replace(path.with_suffix(".json"), json.dumps(record, indent=1).encode())
    except OSError as error:  # the cache saves time, nothing else
        text = f"{path.parent} cannot be written ({error.strerror}): what was computed is not kept for the next run"
        warnings.warn(f"{text}; DISTILLKIT_HOME names another folder", stacklevel=2)


def _replace(path: Path, raw: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(raw)
    partial.replace(path)
