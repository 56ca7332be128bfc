"""Importers: NVIDIA's pickles, and plain state dicts with the names of EDM or EDM2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from distillkit import weights
from distillkit.api import Importer, InputError
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
    """State dicts with EDM's or EDM2's names, such as DMD2's and FastGen's, for their preconditioning.

    Of a training checkpoint the average "ema", where there is one.
    """

    def declines(self, path: Path) -> str | None:
        try:
            card_from_shapes(_shapes(_known(weights.read(path))))
        except InputError as error:
            return str(error).removeprefix(f"{path}: refused: ")
        return ""

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        found = weights.tensors(path, _known(weights.read(path)))
        try:
            card = card_from_shapes(_shapes(found))
            check_tensors(card, found)
        except UnsafeFile as error:
            raise UnsafeFile(f"{path}: refused: {error}") from error
        return card, {name: tensor.contiguous() for name, tensor in found.items()}


def _known(found: dict[str, Any]) -> dict[str, Any]:
    """What our networks have of it: FastGen's EDM estimates its error too, by a layer that nothing else needs."""
    names = weights.averaged(found)
    return {name: value for name, value in names.items() if not name.startswith("model.logvar_linear.")}


def _shapes(found: dict[str, Any]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in found.items() if isinstance(tensor, Tensor)}
