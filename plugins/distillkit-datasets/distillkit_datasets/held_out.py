"""Sets of images of which a part is held out for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from attrs import evolve

from distillkit.api import FILE, NO_BITS, InputError, added_later, and_, field, frozen, ge, in_, le, min_len, optional
from distillkit_datasets.ahead import Ahead
from distillkit_datasets.digits import split
from distillkit_datasets.files import Files
from distillkit_datasets.image_set import ImageSet

WORKERS = 2
MEMORY = 2 << 30  # bytes of pixels that memory = "auto" keeps


class SplitImageSet(ImageSet):
    """A set of images of which some can be held out, or that has a second file of held-out images."""

    @frozen(kw_only=True)
    class Config(ImageSet.Config):
        held_out: int = field(default=0, validator=ge(0))  # images never trained on, stratified by class
        split_seed: int = field(default=0, validator=ge(0))  # which images are held out
        held_out_path: str | None = field(default=None, validator=optional(min_len(1)), metadata=FILE)
        """in place of held_out: images of their own, in the same format"""

    def _hold_out(self, root: Path) -> None:
        """Split the set, or read its second file. Raises InputError."""
        config = self.config
        if config.held_out_path is not None:
            self._twin = self._second(root, config.held_out_path)
        elif config.held_out:
            train, test = self._split(config.held_out, config.split_seed)
            self._twin, self._rows = self._part(test), torch.tensor(train)

    def _split(self, held_out: int, seed: int) -> tuple[list[int], list[int]]:
        if held_out >= len(self._rows):
            raise InputError(f"{self._source.where}: {len(self._rows)} images, held_out = {held_out} leaves none")
        classes = self.classes(self._rows)
        return split([0] * len(self._rows) if classes is None else classes.tolist(), held_out, seed)

    def _second(self, root: Path, path: str) -> ImageSet:
        if self.config.held_out:
            raise InputError("held_out and held_out_path are both given; keep one")
        shared = ("labels", "words", "memory", "workers", "orientation", "vae", "label", "image", "split", "subset")
        keep = {key: getattr(self.config, key) for key in shared if hasattr(self.config, key)}
        return self._beside(root, type(self).Config(path=path, **keep), path)

    def _beside(self, root: Path, config: Any, path: str) -> ImageSet:
        """Another set of the same kind, for evaluation; `path` is how an error calls it."""
        twin = type(self)(config)
        twin.cache = self.cache
        twin.open(root)
        self._check_alike(twin, path)
        # The last classes may not be among the held-out images.
        if twin._labels and not twin._captions and twin.label_dim < self.label_dim:
            twin._labels, twin.label_dim = evolve(twin._labels, dim=self.label_dim), self.label_dim
        return twin

    def _check_alike(self, twin: ImageSet, path: str) -> None:
        of_classes = twin._labels and twin._labels.classes is not None and not twin._captions
        fewer = of_classes and 0 < twin.label_dim < self.label_dim
        if twin.shape != self.shape or not (twin.label_dim == self.label_dim or fewer):
            raise InputError(
                f"{path}: {twin.resolution}x{twin.resolution}x{twin.channels} with {twin.label_dim} labels, but "
                f"{self.config.path} is {self.resolution}x{self.resolution}x{self.channels} with {self.label_dim}"
            )
        if twin.class_names and self.class_names and list(twin.class_names) != list(self.class_names):
            raise InputError(f"{path}: has other class folders than {self.config.path}")


class FileSet(SplitImageSet):
    """Images in files of their own, decoded once and kept where they fit, else at each use."""

    @frozen(kw_only=True)
    class Config(SplitImageSet.Config):
        memory: str = field(default="auto", validator=in_(("auto", "memory", "file")))
        """where images are kept; "auto": in memory up to 2 GiB"""
        words: bool = field(default=True, metadata=added_later(as_before=True))
        """captions as labels, in place of classes, where a text encoder has embedded them"""
        workers: int = field(default=WORKERS, validator=and_(ge(0), le(256)), metadata=NO_BITS)
        """threads that decode the next batch where images are not kept in memory; 0: none"""

    def _in_memory(self, nbytes: int) -> bool:
        return self.config.memory == "memory" or (self.config.memory == "auto" and nbytes <= MEMORY)

    def _look_ahead(self, dtype: torch.dtype) -> Ahead | None:
        source, chosen = cast(Files, self._source), self._chosen
        if not self.config.workers:
            return None
        return Ahead(lambda row: source.beside(int(chosen[row])), self._stored, dtype, self.config.workers)


class PictureSet(FileSet):
    """Images that people look at: PNG, JPEG and WebP."""

    @frozen(kw_only=True)
    class Config(FileSet.Config):
        orientation: str = field(default="exif", validator=in_(("exif", "stored")), metadata=added_later("exif"))
        """how a camera was held: obey EXIF, or take pixels as they are stored, as EDM's tool does"""

    def _entries(self, path: Path) -> tuple[list[str], Callable[[str], bytes]]:
        """The names of all files at `path`, and what reads one. Raises InputError."""
        raise NotImplementedError

    def _read(self, path: Path) -> Files:
        return Files(str(path), *self._entries(path), upright=self.config.orientation == "exif")
