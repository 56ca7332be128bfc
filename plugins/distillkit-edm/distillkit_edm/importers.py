"""Importers: NVIDIA's pickles, and plain state dicts with the names of EDM or EDM2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from distillkit.api import Importer
from distillkit_edm.nvpickle import read_pickle
from distillkit_edm.nvpickle.architecture import check_tensors
from distillkit_edm.nvpickle.refused import UnsafeFile
from distillkit_edm.nvpickle.write import pickled
from distillkit_edm.state_dict import card_from_shapes


class NvPickle(Importer):
    """Pickles of EDM, EDM2, SiD, SiDA, Diff-Instruct, ECT, GDD: their 'ema', read without running code."""

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        return read_pickle(path)

    def write(self, path: Path, network: nn.Module) -> bool:
        path.write_bytes(pickled(network))
        return True


class StateDict(Importer):
    """State dicts with EDM's or EDM2's names, such as DMD2's pytorch_model.bin, for EDM's preconditioning."""

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        try:
            tensors = _tensors(path)
            card = card_from_shapes({name: list(tensor.shape) for name, tensor in tensors.items()})
            check_tensors(card, tensors)
        except UnsafeFile as error:
            raise UnsafeFile(f"{path}: refused: {error}") from error
        return card, {name: tensor.contiguous() for name, tensor in tensors.items()}


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of a damaged or hostile file, it is refused
        raise UnsafeFile(f"no state dict ({type(error).__name__})") from error
    if not isinstance(tensors, dict) or not all(type(name) is str for name in tensors):
        raise UnsafeFile("no state dict: it is not a table of tensors by name")
    if not all(type(tensor) is Tensor and tensor.layout is torch.strided for tensor in tensors.values()):
        raise UnsafeFile("no state dict: not all of its values are tensors")
    return tensors
