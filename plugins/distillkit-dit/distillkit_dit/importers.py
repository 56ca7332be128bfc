"""Importers of the released DiT and SiT, and of FastGen's transformers: sizes and patches are told from shapes.

Of a training checkpoint the average "ema" is taken, where there is one, else "model" (`distillkit.weights.averaged`).
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from distillkit import weights
from distillkit.api import Importer as Base
from distillkit.api import InputError
from distillkit_dit.shapes import architecture, fits
from distillkit_dit.transformer import FASTGEN, RELEASED, Names

PREFIX = "model."  # of the transformer in our denoiser
PATHS = {"Linear": "linear", "GVP": "gvp", "VP": "vp"}
PREDICTIONS = {"velocity": "velocity", "noise": "eps", "score": "score"}


class Importer(Base):
    """A transformer by the names of its weights; DiT's and SiT's are the same, so they are told apart by `mine`."""

    use = ""
    names: Names = RELEASED
    unused: tuple[str, ...] = ()  # weights that our network has no use for

    def mine(self, path: Path, args: Mapping[str, Any]) -> str:
        """Why a file with these names of weights is not its, though; "": it is. `args`: the training script's."""
        return ""

    def keys(self, args: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> dict[str, Any]:
        """Keys of the network beyond its sizes."""
        return {}

    def declines(self, path: Path) -> str | None:
        try:
            found = weights.read(path)
            architecture(path, self._shapes(self._state(found)), self.names)
        except InputError as error:
            return str(error).removeprefix(f"{path}: ").removeprefix("refused: ")
        return self.mine(path, _args(found))

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        found = weights.read(path)
        state, args = weights.tensors(path, self._state(found)), _args(found)
        if why := self.mine(path, args):
            raise InputError(f"{path}: refused: {why}")
        card = architecture(path, self._shapes(state), self.names)
        card["network"] = {"use": self.use, **card["network"], **self.keys(args, self._shapes(state))}
        fits(path, card, self._shapes(state), self.names)
        return card, {PREFIX + name: tensor for name, tensor in weights.floats(path, state).items()}

    def _state(self, found: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in weights.averaged(found).items() if name not in self.unused}

    @staticmethod
    def _shapes(state: Mapping[str, Any]) -> dict[str, list[int]]:
        return {name: list(value.shape) for name, value in state.items() if isinstance(value, Tensor)}


class DitFile(Importer):
    """DiT's released files, such as DiT-XL-2-256x256.pt, and its training checkpoints (arXiv:2212.09748)."""

    use = "dit"

    def mine(self, path: Path, args: Mapping[str, Any]) -> str:
        return _named(path, args, "dit")

    def keys(self, args: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> dict[str, Any]:
        return {"learn_sigma": _doubled(shapes, RELEASED)}


class SitFile(Importer):
    """SiT's released files, such as SiT-XL-2-256.pt, and its training checkpoints (arXiv:2401.08740)."""

    use = "sit"

    def mine(self, path: Path, args: Mapping[str, Any]) -> str:
        for name, known in (("path_type", PATHS), ("prediction", PREDICTIONS)):
            if name in args and args[name] not in known:
                return f"it was trained with {name} = {str(args[name])[:32]!r}, which none here has"
        return _named(path, args, "sit")

    def keys(self, args: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> dict[str, Any]:
        return {
            "learn_sigma": _doubled(shapes, RELEASED), "path": PATHS[args.get("path_type", "Linear")],
            "prediction": PREDICTIONS[args.get("prediction", "velocity")],
        }  # fmt: skip


class FastGenFile(Importer):
    """FastGen's checkpoints of its transformer: rectified flow, or MeanFlow (arXiv:2505.13447)."""

    use = "flow-dit"
    names = FASTGEN
    unused = ("logvar_linear.weight", "logvar_linear.bias")

    def keys(self, args: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> dict[str, Any]:
        return {"second_time": "r_embedder.proj_net.0.weight" in shapes}


def _args(found: Mapping[str, Any]) -> dict[str, Any]:
    args = found.get("args")
    return dict(vars(args)) if isinstance(args, Namespace) else {}


def _named(path: Path, args: Mapping[str, Any], name: str) -> str:
    """Why a file is not of `name`, by its training script's arguments or, without those, by what it is called."""
    told = str(args.get("model") or path.name)[:64]
    if re.search(rf"(?<![a-z]){name}(?![a-z])", told.lower()):
        return ""
    return f"its weights are DiT's or SiT's; call it {name}-NAME{path.suffix} if it is one of {name}"


def _doubled(shapes: Mapping[str, list[int]], names: Names) -> bool:
    _, channels, patch, _ = shapes["x_embedder.proj.weight"]
    return shapes[f"final_layer.{names.last}.weight"][0] == 2 * channels * patch**2
