"""Images in a folder, at any depth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from distillkit.api import InputError
from distillkit_datasets.files import Files
from distillkit_datasets.held_out import FileSet
from distillkit_datasets.zipsafe import ENTRY_BYTES


class ImageFolder(FileSet):
    """Images in a folder, at any depth; its classes are those of dataset.json, or its top-level folders."""

    def _read(self, path: Path) -> Files:
        return Files(str(path), *in_folder(path))

    def _packing(self, names: list[str]) -> Sequence[int]:
        """By the parts of their paths: "a/x" before "a b/x"."""
        return sorted(range(len(names)), key=lambda i: names[i].split("/"))


def in_folder(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    """The names of all files below a folder and what reads one. Raises InputError."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    return [os.path.relpath(file, path) for file in walk(path)], lambda name: (path / name).read_bytes()


def walk(folder: Path) -> Iterator[str]:
    """Paths of all files below. Raises InputError at what is neither a file nor a folder, as links are."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}") from error
    for entry in entries:
        if entry.is_symlink() or not (entry.is_dir() or entry.is_file()) or not entry.name.isprintable():
            raise InputError(f"{ascii(entry.path)[1:-1]}: is neither a plain file nor a folder of a printable name")
        if entry.is_dir():
            yield from walk(Path(entry.path))
        elif entry.stat().st_size > ENTRY_BYTES:
            raise InputError(f"{entry.path}: {entry.stat().st_size} bytes, at most {ENTRY_BYTES}")
        else:
            yield entry.path
