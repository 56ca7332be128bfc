"""Images in a zip, in the layout of EDM's dataset tool; the file is read in place."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from distillkit_datasets.files import Files
from distillkit_datasets.held_out import FileSet
from distillkit_datasets.zipsafe import open_zip, read


class ImageZip(FileSet):
    """Images in a zip with dataset.json, as EDM's dataset tool and `distillkit data pack` write it."""

    def _read(self, path: Path) -> Files:
        archive = open_zip(path)
        entries = [info.filename for info in archive.infolist() if not info.is_dir()]
        return Files(str(path), entries, partial(read, archive))
