"""The architecture of a transformer's state dict, from the shapes of its weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from distillkit.api import InputError, UsageError
from distillkit_dit.transformer import Names, Transformer

Shapes = Mapping[str, list[int]]
LARGEST = 1 << 16  # of any dimension
HEAD = 64  # entries of a head, in the published sizes that are not listed


def architecture(path: Path, shapes: Shapes, names: Names) -> dict[str, Any]:
    """The card, without what only the kind of network tells. Raises InputError for names of another make."""
    width, channels, patch, _ = _shape(path, shapes, "x_embedder.proj.weight", 4)
    _, tokens, _ = _shape(path, shapes, "pos_embed", 3)
    rows, _ = _shape(path, shapes, f"y_embedder.{names.label}.weight", 2)
    hidden, _ = _shape(path, shapes, f"blocks.0.{names.mlp}.fc1.weight", 2)
    side = round(tokens**0.5)
    if side**2 != tokens:
        raise InputError(f"{path}: refused: pos_embed has {tokens} places, which are no square")
    depth = len({found[1] for name in shapes if (found := re.match(r"blocks\.(\d{1,4})\.", name))})
    network = {
        "patch_size": patch, "hidden_size": width, "depth": depth, "num_heads": _heads(path, width),
        "mlp_ratio": hidden / width,
    }  # fmt: skip
    # The last row of the table is the class "none".
    return {"network": network, "resolution": side * patch, "channels": channels, "label_dim": rows - 1}


def fits(path: Path, card: dict[str, Any], shapes: Shapes, names: Names) -> None:
    """Raises InputError unless these are exactly the weights of the card's transformer; none of them is made."""
    keys = {name: card["network"][name] for name in ("patch_size", "hidden_size", "depth", "num_heads", "mlp_ratio")}
    outputs = card["channels"] * (2 if card["network"].get("learn_sigma") else 1)
    second_time = card["network"].get("second_time", False)
    try:
        with torch.device("meta"):
            made = Transformer(
                card["resolution"], card["channels"], card["label_dim"], outputs=outputs, second_time=second_time,
                names=names, **keys,
            )  # fmt: skip
    except (ValueError, RuntimeError, ArithmeticError, UsageError) as error:
        raise InputError(f"{path}: refused: no transformer has these shapes ({type(error).__name__})") from error
    want = {name: list(tensor.shape) for name, tensor in made.state_dict().items()}
    for name, shape in want.items():
        if (got := shapes.get(name)) != shape:
            raise InputError(f"{path}: refused: {name} is {got or 'missing'}; this transformer has {shape}")
    if extra := sorted(set(shapes) - set(want)):
        raise InputError(f"{path}: refused: {len(extra)} weights are left over, such as {extra[0][:64]}")


def _heads(path: Path, width: int) -> int:
    """Heads of attention, which no tensor tells: by the width of a published size, else of 64 entries each."""
    published = {w: heads for _, w, heads in Transformer.sizes.values()}
    if width not in published and width % HEAD:
        raise InputError(f"{path}: refused: width {width} is of no published size, so its heads are not known")
    return published.get(width, width // HEAD)


def _shape(path: Path, shapes: Shapes, name: str, axes: int) -> list[int]:
    shape = shapes.get(name)
    if shape is None:
        raise InputError(f"{path}: refused: its names are not those of this transformer: there is no {name}")
    if len(shape) != axes or not all(0 < size <= LARGEST for size in shape):
        raise InputError(f"{path}: refused: {name} is {shape}: not one of this transformer")
    return shape
