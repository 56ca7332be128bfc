"""Images in files of their own, in a folder or in a zip: their names, labels and pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from distillkit.api import InputError
from distillkit_datasets import captions
from distillkit_datasets.images import decode, decode_beside, has_colour, is_image, is_other_image, suffix
from distillkit_datasets.labels import TABLE, Labels, from_folders, from_json
from distillkit_datasets.told import counted, some, tell

OTHERS = ("__MACOSX", "@eaDir")  # hidden although their names do not begin with a dot: archives of macOS, Synology


class Files:
    """The images among `entries`, sorted by name, with the labels of dataset.json or else of their folders."""

    def __init__(self, where: str, entries: list[str], read: Callable[[str], bytes], *, upright: bool = True) -> None:
        """`read` gives the bytes of an entry; `upright`: obey EXIF. Raises InputError."""
        self.where, self._read, self.upright = where, read, upright
        shown = _shown(entries)
        self.names = sorted(name for name in shown if self.holds(name))
        others = sorted(name for name in set(shown).difference(self.names) if self.refuses(name))
        self.faults = [f"{where}: {name}: images are PNG, JPEG or WebP, not {suffix(name)}" for name in others]
        self.turned: set[str] = set()  # whose EXIF tells of a camera that was turned, of those that were decoded
        if len(shown) < len(entries):
            _tell_hidden(where, [name for name in entries if self.holds(name)])
        try:
            self.labels = self._find_labels(entries) if self.names else None
            told = TABLE in entries and bool(self.names)
            self.captions = captions.read(self._read(TABLE), self.names, entries, self._read) if told else None
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    def _find_labels(self, entries: Sequence[str]) -> Labels | None:
        if TABLE in entries:
            return from_json(self._read(TABLE), self.names, self.where)
        deep = next((name for name in entries if name.endswith(f"/{TABLE}") and not hidden(name)), None)
        if deep is not None:
            tell(self.where, f"{some([deep])} is not at the top, so its labels are not read")
        return from_folders(self.names, self.where)

    def holds(self, name: str) -> bool:
        """Whether a file is one of the images, by its name."""
        return is_image(name)

    def refuses(self, name: str) -> bool:
        """Whether a file is something that should be one of them and cannot be read, by its name."""
        return is_other_image(name)

    @cached_property
    def colour(self) -> bool:
        """Whether any of the images is RGB, so that all are; told by their headers, up to the first that is."""
        return any(self._has_colour(name) for name in self.names)

    def _has_colour(self, name: str) -> bool:
        try:
            return has_colour(self._read(name))
        except InputError:  # told when it is decoded
            return False

    def pixels(self, i: int) -> np.ndarray:
        """Image i, uint8 [H,W,C]; grey is repeated for red, green and blue among colours. Raises InputError."""
        found = decode(f"{self.where}: {self.names[i]}", self._read(self.names[i]), upright=self.upright)
        if found.turned:
            self.turned.add(self.names[i])
        return found.pixels.repeat(3, axis=2) if found.pixels.shape[2] == 1 and self.colour else found.pixels

    def beside(self, i: int) -> np.ndarray | None:
        """The same in any thread; None: `pixels` has to judge it, in the main one."""
        try:
            u = decode_beside(self._read(self.names[i]))
            return u.repeat(3, axis=2) if u is not None and u.shape[2] == 1 and self.colour else u
        except InputError:  # told when it is its turn
            return None


def hidden(name: str) -> str:
    """The part of a path, from its beginning, that hides it; "" where it is not hidden."""
    parts = name.split("/")
    for i, part in enumerate(parts):
        if part.startswith(".") or part in OTHERS:
            return "/".join(parts[: i + 1])
    return ""


def _shown(names: list[str]) -> list[str]:
    """Those that nothing hides: of a million names, told at once in nearly all sets."""
    text = "/" + "\n/".join(names)
    return [name for name in names if not hidden(name)] if any(f"/{part}" in text for part in (".", *OTHERS)) else names


def _tell_hidden(where: str, images: Sequence[str]) -> None:
    """Warn of images that are left out because something in their path is hidden."""
    left_out = [name for name in images if hidden(name)]
    if left_out:
        tell(where, f"left out, as hidden: {counted(len(left_out))} in {some(sorted(set(map(hidden, left_out))))}")
