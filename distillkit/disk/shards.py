"""Files of pieces in a checkpoint: each holds rows of tensors that were cut along their first dimension."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from distillkit.disk import files

_NAME = re.compile(r"state-(\d{5})-of-(\d{5})\.safetensors")
SHAPES = "shapes"  # key of the header: those of the whole tensors
Piece = tuple[Tensor, Sequence[int]]  # some rows, and the shape of the whole


def name(index: int, count: int) -> str:
    """Name the file of pieces number `index`, from 0."""
    return f"state-{index:05d}-of-{count:05d}.safetensors"


def is_one(name: str) -> bool:
    """Whether a file of this name holds pieces."""
    return _NAME.fullmatch(name) is not None


def write(path: Path, pieces: Mapping[str, Piece]) -> dict[str, Any]:
    """Write pieces to a new file -> its entry in the manifest."""
    content = {key: rows.detach().to("cpu", copy=True).contiguous() for key, (rows, _) in pieces.items()}
    shapes = {key: list(shape) for key, (_, shape) in pieces.items()}
    save_file(content, path, {SHAPES: json.dumps(shapes)})
    files.fsync(path)
    return {"sha256": files.sha256(path), "size": path.stat().st_size}


class Pieces:
    """The files of pieces of one checkpoint, open; rows of its tensors by name."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """`paths` in order of their names. Raises ValueError where one is missing, or rows are."""
        self._stack = ExitStack()
        self._files = [self._stack.enter_context(safe_open(path, "pt")) for path in paths]
        counts = {int(match[2]) for path in paths if (match := _NAME.fullmatch(path.name))}
        if counts and counts != {len(paths)}:
            raise ValueError(f"{len(paths)} of {max(counts)} files of pieces are there")
        self.shapes: dict[str, list[int]] = {}
        for file in self._files:
            self.shapes |= json.loads((file.metadata() or {}).get(SHAPES, "{}"))
        for key, shape in self.shapes.items():
            if self._counts(key)[-1] != shape[0]:
                raise ValueError(f"the pieces of {key} are not {shape[0]} rows")

    def _counts(self, key: str) -> list[int]:
        """Rows up to the end of each file."""
        ends, total = [], 0
        for file in self._files:
            total += file.get_slice(key).get_shape()[0]
            ends.append(total)
        return ends

    def rows(self, key: str, first: int, stop: int) -> Tensor:
        """Rows first ... stop-1 of a tensor, read from the files that have some of them."""
        parts, at = [], 0
        for file, end in zip(self._files, self._counts(key), strict=True):
            low, high = max(first, at), min(stop, end)
            if low < high:
                parts.append(file.get_slice(key)[low - at : high - at])
            at = end
        if not parts:
            empty: Tensor = self._files[0].get_tensor(key)[:0].clone()
            return empty
        return torch.cat(parts)  # also of one: what a file gives may be a view of it

    def whole(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors, one after the other."""
        for key, shape in self.shapes.items():
            yield key, self.rows(key, 0, shape[0])

    def close(self) -> None:
        self._stack.close()


def read(folder: Path, names: Sequence[str], take: Callable[[str], tuple[int, int] | None]) -> dict[str, Tensor]:
    """Tensors of a checkpoint's files: whole, or the rows that `take` names. Raises ValueError, SafetensorError."""
    found: dict[str, Tensor] = {}
    pieces = Pieces([folder / name for name in sorted(names) if is_one(name)])
    for key, shape in pieces.shapes.items():
        found[key] = pieces.rows(key, *(take(key) or (0, shape[0])))
    pieces.close()
    for name in names:
        if name.endswith(".safetensors") and not is_one(name):
            with safe_open(folder / name, "pt") as file:
                for key in file.keys():  # noqa: SIM118 # no mapping
                    rows = take(key)
                    tensor = file.get_tensor(key) if rows is None else file.get_slice(key)[rows[0] : rows[1]]
                    found[key] = tensor.clone()
    return found
