"""The architecture of a plain state dict, from the names and shapes that EDM's and EDM2's networks have."""

from __future__ import annotations

import re
from typing import Any

from distillkit_edm.nvpickle.refused import UnsafeFile

Shapes = dict[str, list[int]]


def card_from_shapes(shapes: Shapes) -> dict[str, Any]:
    """How to build the network, in EDM's preconditioning; whether it fits is to be checked. Raises UnsafeFile."""
    if "unet.out_gain" in shapes:
        return _edm2(shapes)
    first = [found for name in shapes if (found := re.fullmatch(r"model\.enc\.(\d{1,4})x\1_conv\.weight", name))]
    if len(first) != 1:
        raise UnsafeFile("its names are not those of a network in an EDMPrecond, nor EDM2's")
    resolution = int(first[0][1])
    channels = _size(shapes, first[0][0], 1)
    emb, noise = (_size(shapes, "model.map_layer0.weight", axis) for axis in (0, 1))
    use = _use(shapes)
    width = max(noise // (2 if use == "edm-ncsnpp" else 1), 1)
    levels = _levels(shapes, resolution)
    network = {
        "use": use, "model_channels": width, "channel_mult_emb": emb // width,
        "channel_mult": [_size(shapes, f"{_block(at)}.conv1.weight", 0) // width for at in levels],
        "num_blocks": sum(bool(re.fullmatch(rf"{_block(resolution)[:-1]}\d+\.conv1\.weight", name)) for name in shapes),
        "attn_resolutions": [at for at in levels if f"{_block(at)}.qkv.weight" in shapes],
        "augment_dim": _size(shapes, "model.map_augment.weight", 1, 0),
        "dropout": 0.0,  # which no tensor tells; the recipe's generator.dropout sets a student's
    }  # fmt: skip
    label_dim = _size(shapes, "model.map_label.weight", 1, 0)
    return {"network": network, "resolution": resolution, "channels": channels, "label_dim": label_dim}


def _edm2(shapes: Shapes) -> dict[str, Any]:
    """The same of EDM2's network; what no tensor tells is at its default."""
    first = [found for name in shapes if (found := re.fullmatch(r"unet\.enc\.(\d{1,4})x\1_conv\.weight", name))]
    if len(first) != 1:
        raise UnsafeFile("its names are not those of EDM2's UNet in a Precond")
    resolution, width = int(first[0][1]), _size(shapes, first[0][0], 0)
    levels = _levels(shapes, resolution, "unet", "conv_res0")
    top = _block(resolution, "unet")[:-1]
    network = {
        "use": "edm2", "model_channels": width,
        "channel_mult": [_size(shapes, f"{_block(at, 'unet')}.conv_res0.weight", 0) // width for at in levels],
        "num_blocks": sum(bool(re.fullmatch(rf"{top}\d+\.conv_res0\.weight", name)) for name in shapes),
        "attn_resolutions": [at for at in levels if f"{_block(at, 'unet')}.attn_qkv.weight" in shapes],
        "logvar_channels": _size(shapes, "logvar_linear.weight", 1, 0),
    }  # fmt: skip
    channels, label_dim = _size(shapes, first[0][0], 1) - 1, _size(shapes, "unet.emb_label.weight", 1, 0)
    return {"network": network, "resolution": resolution, "channels": channels, "label_dim": label_dim}


def _use(shapes: Shapes) -> str:
    if "model.out_conv.weight" in shapes:
        return "edm-adm"
    return "edm-ncsnpp" if "model.map_noise.freqs" in shapes else "edm-ddpmpp"


def _levels(shapes: Shapes, resolution: int, inner: str = "model", conv: str = "conv1") -> list[int]:
    """Resolutions that have blocks, finest first."""
    found = []
    while resolution and f"{_block(resolution, inner)}.{conv}.weight" in shapes:
        found.append(resolution)
        resolution //= 2
    return found


def _block(at: int, inner: str = "model") -> str:
    return f"{inner}.enc.{at}x{at}_block0"


def _size(shapes: Shapes, name: str, axis: int, missing: int | None = None) -> int:
    """One dimension of a tensor."""
    shape = shapes.get(name)
    if shape is None and missing is not None:
        return missing
    if shape is None or len(shape) <= axis or shape[axis] > 1 << 16:
        raise UnsafeFile(f"{name} is {shape or 'missing'}: not one of a network in an EDMPrecond")
    return shape[axis]
