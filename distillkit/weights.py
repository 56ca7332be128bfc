"""Files of weights as data, for importers: what `torch.save` or safetensors wrote, with nothing run or believed.

A file is refused in one line: one that names code, whose archive is compressed (it could unpack to any size), or whose
tensors are views larger than the file. Weights are mapped, not read, until somebody asks for their numbers.
"""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from distillkit.api import InputError

LARGEST_INDEX = 64 << 20  # bytes of an archive's table of names
FLOATS = torch.float32, torch.float16, torch.bfloat16, torch.float64


def read(path: Path) -> dict[str, Any]:
    """The table that a file holds: tensors by name, or tables of them among other values.

    Of classes only `argparse.Namespace` is known, which training scripts put beside weights. Raises InputError.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'no file of weights: it is a folder' if path.is_dir() else 'no such file'}")
    try:
        found = _read(path)
    except Exception as error:  # whatever torch makes of a damaged or hostile file, it is refused
        told = str(error) if isinstance(error, InputError) else type(error).__name__
        raise InputError(f"{path}: refused: no state dict ({told})") from error
    if not isinstance(found, dict) or not all(type(name) is str for name in found):
        raise InputError(f"{path}: refused: no state dict: it is not a table of tensors by name")
    return found


def averaged(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict to use of a training checkpoint: "ema", else the first "ema...", else what has trained.

    Looked for in the table itself, then in what was found there; a table without such names is a state dict already.
    A prefix "module." of all names, which DistributedDataParallel leaves, is taken off.
    """
    for _ in range(3):
        tables = sorted(name for name, value in found.items() if isinstance(value, Mapping))
        wanted = "ema", *(name for name in tables if name.startswith("ema")), "net", "model", "state_dict"
        name = next((name for name in wanted if name in tables), None)
        if name is None:
            break
        found = found[name]
    if found and all(str(name).startswith("module.") for name in found):
        return {str(name).removeprefix("module."): value for name, value in found.items()}
    return found


def tensors(path: Path, found: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict that is nothing but tensors, all within the file's size. Raises InputError."""
    for name, tensor in found.items():
        if type(name) is not str or type(tensor) is not Tensor or tensor.layout is not torch.strided:
            raise InputError(f"{path}: refused: no state dict: not all of its values are tensors")
    if sum(tensor.numel() * tensor.element_size() for tensor in found.values()) > path.stat().st_size:
        raise InputError(f"{path}: refused: no state dict: its tensors are larger than the file")
    return dict(found)


def floats(path: Path, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same in float32, contiguous. Raises InputError for other numbers, and for those that are not finite."""
    for name, tensor in found.items():
        if tensor.dtype not in FLOATS:
            raise InputError(f"{path}: refused: {name} is {str(tensor.dtype).removeprefix('torch.')}, no weight")
        if not tensor.isfinite().all():
            raise InputError(f"{path}: refused: {name} holds numbers that are not finite")
    return {name: tensor.to(torch.float32).contiguous() for name, tensor in found.items()}


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".safetensors":
        return safetensors.torch.load_file(path)
    archive = zipfile.is_zipfile(path)
    if archive:
        _check_archive(path)
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=archive or None)


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(one.compress_type != zipfile.ZIP_STORED or one.file_size != one.compress_size for one in entries):
        raise InputError("its archive is compressed, which torch.save never does")
    if sum(one.file_size for one in entries) > path.stat().st_size:
        raise InputError("its archive unpacks to more than itself")
    if any(one.file_size > LARGEST_INDEX for one in entries if one.filename.endswith(".pkl")):
        raise InputError("its table of names is too long")
