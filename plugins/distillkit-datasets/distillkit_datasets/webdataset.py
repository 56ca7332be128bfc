"""Images in tar shards, as WebDataset writes them, on this disk or behind URLs; each is read in place, by index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distillkit.api import FILE, InputError, field, frozen, min_len
from distillkit_datasets.files import Files
from distillkit_datasets.held_out import PictureSet
from distillkit_datasets.labels import Labels
from distillkit_datasets.shard_index import UNKNOWN, Index, index
from distillkit_datasets.shards import Shard, shards
from distillkit_datasets.told import some
from distillkit_datasets.zipsafe import one_line


class WebDataset(PictureSet):
    """Images in tar shards of WebDataset, key.png beside key.cls or key.json, for sets beyond one disk.

    Every image has an index, as in all sets here: a run goes on at the very image where it stopped.
    """

    @frozen(kw_only=True)
    class Config(PictureSet.Config):
        path: str = field(validator=min_len(1), metadata=FILE)
        """a folder of .tar files, one of them, or a pattern: shards/train-{000..146}.tar, s3://bucket/train-*.tar"""
        label: str = field(default="cls", validator=min_len(1))
        """where classes are: "cls", the number in key.cls; else the name of a number in key.json"""

    def _read(self, path: Path) -> Files:
        found = shards(self.config.path if "://" in self.config.path else str(path))
        return ShardFiles(self.config.path, found, index(found, self.config.label, self.cache), self.config.orientation)


class ShardFiles(Files):
    """The images of an index, with its classes."""

    def __init__(self, where: str, shards: Sequence[Shard], listed: Index, orientation: str) -> None:
        self._shards, self._listed = shards, listed
        self._rows = {name: i for i, name in enumerate(listed.names)}
        super().__init__(where, listed.names, self._content, upright=orientation == "exif")

    def _find_labels(self, entries: Sequence[str]) -> Labels | None:
        """Raises InputError where some have a class and others have none."""
        classes = self._listed.rows[3][[self._rows[name] for name in self.names]]
        if (classes == UNKNOWN).all():
            return None
        without = [self.names[i] for i in (classes == UNKNOWN).nonzero()[0].tolist()]
        if without:
            raise InputError(f"{len(without)} images without a class beside those with one: {some(without)}")
        return Labels.of(classes.tolist(), self.names)

    def _content(self, name: str) -> bytes:
        shard, offset, size, _ = self._listed.rows[:, self._rows[name]].tolist()
        try:
            data: bytes = self._shards[shard].read(offset, size)
        except Exception as error:  # file systems of others raise nearly anything
            raise InputError(f"{self.where}: {name}: cannot be read ({one_line(error)})") from error
        if len(data) != size:
            raise InputError(f"{self.where}: {name}: {len(data)} of {size} bytes are there")
        return data
