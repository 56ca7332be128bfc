"""Weights cached by content: safetensors plus a JSON record with their sha256."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor


def load(path: Path) -> dict[str, Tensor] | None:
    """Weights saved at `path`; None when there are none, or with a warning when they are damaged."""
    record = path.with_suffix(".json")
    if not path.exists() and not record.exists():
        return None
    try:
        raw = path.read_bytes()
        stated = json.loads(record.read_text())["sha256"]
        found = hashlib.sha256(raw).hexdigest()
        problem = None if stated == found else f"its sha256 is {found}, {record.name} says {stated}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is None:
        return safetensors.torch.load(raw)
    warnings.warn(f"{path}: cached tensors are damaged ({problem}); computing them again", stacklevel=2)
    return None


def save(path: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights, then the record; both appear whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = safetensors.torch.save(weights)
    record = {**about, "sha256": hashlib.sha256(raw).hexdigest()}
    _replace(path, raw)
    _replace(path.with_suffix(".json"), json.dumps(record, indent=1).encode())


def _replace(path: Path, raw: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(raw)
    partial.replace(path)
