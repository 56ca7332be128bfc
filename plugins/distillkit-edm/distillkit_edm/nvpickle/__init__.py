"""A reader of NVIDIA-style network pickles for which a file is data: it imports and calls nothing that one names."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path
from typing import Any

from torch import Tensor

from distillkit_edm.nvpickle.architecture import card_of, check_tensors
from distillkit_edm.nvpickle.modules import read_tensors, read_tree
from distillkit_edm.nvpickle.refused import UnsafeFile

LARGEST = 8 << 30  # bytes


def read_pickle(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Card and tensors of the averaged network in a snapshot. Raises UnsafeFile, in one line that names the file."""
    try:
        data = mapped(path)
        module = read_tree(data)
        card = card_of(module)
        tensors = read_tensors(data, module)
        check_tensors(card, tensors)
    except UnsafeFile as error:
        raise UnsafeFile(f"{path}: refused: {error}") from error
    return card, tensors


# Not through a link, not waiting for a pipe: where a system has no such flag there is none to wait for.
FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY"))


def mapped(path: Path) -> mmap.mmap:
    """The file in memory, to read only. Raises UnsafeFile if it cannot be."""
    try:
        fd = os.open(path, FLAGS)
    except OSError as error:
        raise UnsafeFile(f"it cannot be opened: {error.strerror}") from error
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or not 0 < facts.st_size <= LARGEST:
            raise UnsafeFile(f"no file of 1 byte to {LARGEST} bytes")
        return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)
