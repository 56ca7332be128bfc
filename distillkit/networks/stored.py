"""A student whose weights lie in half precision: half the file; it computes in float32 from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from attrs import frozen
from torch import Tensor, nn
from torch.func import functional_call

from distillkit.api import Denoiser
from distillkit.disk.files import finite, write_new

if TYPE_CHECKING:
    from distillkit.networks.loaded import Student


@frozen
class Stored:
    """How weights lie in a file, and how far a pixel in [-1,1] may be from that of the student in float32."""

    dtype: torch.dtype
    tolerance: float


DTYPES = {
    "fp32": Stored(torch.float32, 1e-4),
    "fp16": Stored(torch.float16, 0.02),  # digits: 0.005; a step of 255 is 0.008
    "bf16": Stored(torch.bfloat16, 0.1),  # digits: 0.03
}


def round_weights(made: Student, dtype: torch.dtype) -> Student:
    """The same student with its parameters in `dtype`; buffers, such as frequencies, stay."""
    for parameter in made.network.parameters():
        parameter.data = parameter.data.to(dtype)
    return made


TOLD = ("network", "resolution", "channels", "label_dim", "sample", "nfe", "recipe", "method", "teacher", "data")


def write(path: Path, network: Denoiser, card: dict[str, Any]) -> None:
    """Write the network as it lies in memory, with what a reader of this file alone would ask."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items()}
    known = {key: card[key] for key in TOLD if card.get(key) is not None}
    told = {key: value if isinstance(value, str) else json.dumps(finite(value)) for key, value in known.items()}
    data = safetensors.torch.save(tensors, metadata={"format": "pt", "library": "distillkit", **told})
    write_new(path, in_order(data))


def in_order(data: bytes) -> bytes:
    """The bytes of a safetensors file with its metadata by name: the library puts them in another order each time."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # what follows is aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


class Widened(nn.Module):
    """A module of weights in half precision as one that computes in float32."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        wide = {name: weight.float() for name, weight in self.inner.named_parameters()}
        x: Tensor = functional_call(self.inner, wide, (z, labels))
        return x
