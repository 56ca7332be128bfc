"""One tensor's numbers: torch's legacy stream, five pickles and raw data, and a view into it."""

from __future__ import annotations

import mmap
from math import prod
from typing import Any

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from distillkit_edm.nvpickle.machine import Machine
from distillkit_edm.nvpickle.refused import UnsafeFile
from distillkit_edm.nvpickle.symbols import Blob, Node, Symbol

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
STEPS, DIMS = 1000, 8  # opcodes of a stream's pickles, dimensions of a tensor
DTYPES = {
    "torch.FloatStorage": torch.float32, "torch.HalfStorage": torch.float16, "torch.DoubleStorage": torch.float64,
    "torch.BFloat16Storage": torch.bfloat16, "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32,
    "torch.ByteStorage": torch.uint8,
}  # fmt: skip
SYMBOLS = {name: Symbol(name) for name in DTYPES}


@frozen
class Storage:
    """`numel` numbers of `dtype` from byte `start` of the file."""

    dtype: torch.dtype
    start: int
    numel: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.numel * self.dtype.itemsize


def find_storage(data: bytes | mmap.mmap, blob: Any) -> Storage:
    """Where the numbers of a legacy stream are. Raises UnsafeFile unless it is complete and holds one storage."""
    if type(blob) is not Blob:
        raise UnsafeFile("a tensor's storage is no bytes")
    pos, values = blob.start, []
    for _ in range(5):
        machine = Machine(data, pos, blob.stop, SYMBOLS, STEPS, persistent=True)
        values.append(machine.run())
        pos = machine.pos
    magic, version, system, reference, keys = values
    known = type(magic) is int and magic == MAGIC and type(version) is int and version == VERSION
    if not known or type(system) is not dict or system.get("little_endian") is not True:
        raise UnsafeFile("a tensor's storage is no little-endian stream of version 1001")
    key, dtype, numel = _reference(reference)
    storage = Storage(dtype, pos + 8, numel)
    if type(keys) is not list or len(keys) != 1 or type(keys[0]) is not str or keys[0] != key:
        raise UnsafeFile("a tensor's stream does not hold exactly one storage")
    if storage.start + storage.size != blob.stop or int.from_bytes(data[pos : pos + 8], "little") != numel:
        raise UnsafeFile(f"a storage of {numel} numbers does not fill its {blob.stop - blob.start} bytes")
    return storage


def _reference(node: Any) -> tuple[str, torch.dtype, int]:
    """Key, dtype and length of ("storage", type, key, location, numel, None)."""
    found = node.args[0] if type(node) is Node else None
    if type(found) is not tuple or len(found) != 6 or type(found[0]) is not str or found[0] != "storage":
        raise UnsafeFile("a tensor's stream refers to no storage")
    _, kind, key, location, numel, view = found
    if type(kind) is not Symbol or type(key) is not str or type(location) is not str or view is not None:
        raise UnsafeFile("a tensor's stream refers to a storage in an unknown way")
    return key, DTYPES[kind.name], whole(numel, "the length of a storage")


def read_view(data: bytes | mmap.mmap, storage: Storage, offset: Any, size: Any, stride: Any) -> Tensor:
    """The tensor of a view that lies within its storage, as a copy. Raises UnsafeFile for any other view."""
    if type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride) or len(size) > DIMS:
        raise UnsafeFile("a tensor without a size and as many strides")
    offset = whole(offset, "the offset of a tensor")
    size, stride = [tuple(whole(n, "the shape of a tensor") for n in part) for part in (size, stride)]
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if prod(size) > storage.numel or (prod(size) and last >= storage.numel) or offset > storage.numel:
        raise UnsafeFile(f"a tensor of shape {list(size)} does not lie within its storage of {storage.numel} numbers")
    flat = torch.from_numpy(_copied(data, storage)).view(storage.dtype)
    view = flat.as_strided(size, stride, offset)
    return view.contiguous() if view.numel() == storage.numel else view.clone(memory_format=torch.contiguous_format)


def _copied(data: bytes | mmap.mmap, storage: Storage) -> np.ndarray:
    """A storage's bytes [n]; the pages that held them leave memory again, so a file is never in memory twice."""
    if not storage.size:
        return np.empty(0, np.uint8)
    copy = np.frombuffer(data, np.uint8, storage.size, storage.start).copy()
    if isinstance(data, mmap.mmap):
        page = storage.start // mmap.PAGESIZE * mmap.PAGESIZE
        data.madvise(mmap.MADV_DONTNEED, page, storage.start + storage.size - page)
    return copy


def whole(value: Any, what: str) -> int:
    """A number from 0 to 2**40."""
    if type(value) is not int or not 0 <= value <= 1 << 40:
        raise UnsafeFile(f"{what} is no whole number from 0 to 2**40")
    return value
