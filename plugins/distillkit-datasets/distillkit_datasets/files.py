"""Images in files of their own, in a folder or in a zip: their names, labels and pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from distillkit.api import InputError
from distillkit_datasets.images import decode, is_image
from distillkit_datasets.labels import Labels, from_folders, from_json


class Files:
    """The images among `entries`, sorted by name, with the labels of dataset.json or else of their folders."""

    def __init__(self, where: str, entries: list[str], read: Callable[[str], bytes]) -> None:
        """`read` gives the bytes of an entry. Raises InputError."""
        self.where, self._read = where, read
        try:
            self.names = sorted(name for name in entries if self.holds(name))
            self.labels = self._find_labels("dataset.json" in entries) if self.names else None
        except InputError as error:
            raise InputError(f"{where}: {error}") from error

    def _find_labels(self, has_json: bool) -> Labels | None:
        if has_json:
            labels = from_json(self._read("dataset.json"), self.names)
            return None if labels is None else Labels.of(labels)
        found = from_folders(self.names)
        return None if found is None else Labels.of(*found)

    def holds(self, name: str) -> bool:
        """Whether a file is one of the images."""
        return is_image(name)

    def pixels(self, i: int, *, convert: bool = False) -> np.ndarray:
        """Image i, uint8 [H,W,C]. Raises InputError that names it."""
        return decode(f"{self.where}: {self.names[i]}", self._read(self.names[i]), convert=convert)
