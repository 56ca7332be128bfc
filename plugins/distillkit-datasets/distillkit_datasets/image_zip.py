"""Images in a zip, in the layout of EDM's dataset tool; the file is read in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distillkit_datasets.held_out import PictureSet
from distillkit_datasets.zipsafe import ENTRY_BYTES, open_zip


class ImageZip(PictureSet):
    """Images in a zip with dataset.json, as EDM's dataset tool and `distillkit data pack` write it."""

    def _entries(self, path: Path) -> tuple[list[str], Callable[[str], bytes]]:
        return in_zip(path)


def in_zip(path: Path, largest: int = ENTRY_BYTES) -> tuple[list[str], Callable[[str], bytes]]:
    """The names in a zip and what reads one. Raises InputError for a zip whose directory is harmful."""
    archive = open_zip(path, largest=largest)
    return archive.files(), archive.read
