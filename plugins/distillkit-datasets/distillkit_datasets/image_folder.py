"""Images in a folder, at any depth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from distillkit.api import InputError
from distillkit_datasets.files import hidden
from distillkit_datasets.held_out import PictureSet
from distillkit_datasets.told import near
from distillkit_datasets.zipsafe import ENTRY_BYTES


class ImageFolder(PictureSet):
    """Images in a folder, at any depth; its classes are those of dataset.json, or its top-level folders."""

    def _entries(self, path: Path) -> tuple[list[str], Callable[[str], bytes]]:
        return in_folder(path)

    def _packing(self, names: list[str]) -> Sequence[int]:
        """By the parts of their paths: "a/x" before "a b/x"."""
        return sorted(range(len(names)), key=lambda i: names[i].split("/"))


def in_folder(path: Path) -> tuple[list[str], Callable[[str], bytes]]:
    """The names of all files below a folder and what reads one. Raises InputError."""
    if not path.is_dir():
        told = "no such folder: it is a file" if path.exists() else "no such folder"
        raise InputError(f"{path}: {told}{near(path) or '; image-zip reads a .zip, npz a .npz'}")

    def read(name: str) -> bytes:
        try:
            return (path / name).read_bytes()
        except OSError as error:
            raise InputError(f"{path}: {name}: {error.strerror}") from error

    return [os.path.relpath(file, path) for file in walk(path)], read


def walk(folder: Path) -> Iterator[str]:
    """Paths of all files below. Raises InputError at what is neither a file nor a folder, as links are.

    What is hidden is not judged: it is never read.
    """
    todo = [str(folder)]
    while todo:
        entries = _scan(todo.pop())
        for entry in entries:
            if hidden(entry.name):
                yield from _below(entry)
            elif entry.is_symlink() or not (entry.is_dir() or entry.is_file()) or not entry.name.isprintable():
                raise InputError(f"{ascii(entry.path)[1:-1]}: is neither a plain file nor a folder of a printable name")
            elif entry.is_dir():
                todo.append(entry.path)
            elif entry.stat().st_size > ENTRY_BYTES:
                raise InputError(f"{entry.path}: {entry.stat().st_size} bytes, at most {ENTRY_BYTES}")
            else:
                yield entry.path


def _scan(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError as error:
        raise InputError(f"{ascii(folder)[1:-1][:200]}: {error.strerror}") from error


def _below(entry: os.DirEntry[str]) -> Iterator[str]:
    """Paths of the files that something hidden is or holds; links are not followed."""
    if entry.is_file(follow_symlinks=False):
        yield entry.path
    for folder, _, names in os.walk(entry.path, followlinks=False):
        yield from (os.path.join(folder, name) for name in names)
