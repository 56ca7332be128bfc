"""What all sets of images have in common: which images, in which order, held where, and which are held out."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from distillkit.api import FILE, Dataset, InputError, Layout, Picture, Prompts, field, frozen, ge, gt, min_len, optional
from distillkit_datasets.ahead import Ahead
from distillkit_datasets.arrays import Arrays
from distillkit_datasets.captions import Captions
from distillkit_datasets.files import Files
from distillkit_datasets.labels import Labels
from distillkit_datasets.told import counted, some, tell

PACK = "`distillkit data pack --resolution N` makes a set of one size"


class Source(Protocol):
    """Images as they are stored, in the order of EDM: sorted by name; latents as float32."""

    where: str
    names: list[str]
    labels: Labels | None
    faults: list[str]  # what is there and can never be read, a line each
    turned: set[str]  # names of images whose EXIF tells of a camera that was turned, as far as they were decoded

    def pixels(self, i: int) -> np.ndarray:
        """Image i, uint8 or float32 [H,W,C]. Raises InputError that names it."""


class ImageSet(Dataset):
    """Images of one size with optional labels, mirror images and a held-out part."""

    @frozen(kw_only=True)
    class Config:
        path: str = field(validator=min_len(1), metadata=FILE)  # of the images
        labels: bool = True  # use labels where there are some
        xflip: bool = False  # each image a second time, mirrored
        max_size: int | None = field(default=None, validator=optional(gt(0)))  # images at most, a random choice
        max_size_seed: int = field(default=0, validator=ge(0))  # seed of that choice

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._read_at: dict[Path, Source] = {}

    _told: Captions | None = None  # of all images
    _captions: Captions | None = None  # the same, where they are labels

    @property
    def layout(self) -> Layout:
        """Of embedded captions, or classes."""
        return self._captions.layout if self._captions else Layout(classes=self.label_dim)

    @property
    def prompts(self) -> Prompts | None:
        """A few captions, where they are labels."""
        return self._captions.prompts(self._raw(torch.arange(len(self._rows)))) if self._captions else None

    def words(self, index: Tensor) -> list[str] | None:
        """The caption of each image, also where it is no label; None: there are none."""
        if self._told is None:
            return None
        return [self._told.words[i] for i in self._told.of[self._raw(index)].tolist()]

    def _read(self, path: Path) -> Source:
        """What is stored at `path`. Raises InputError."""
        raise NotImplementedError

    def _in_memory(self, nbytes: int) -> bool:
        """Whether to decode all images now and keep so many bytes."""
        return False

    def _look_ahead(self, dtype: torch.dtype) -> Ahead | None:
        """What decodes images of that kind before they are asked for; None: nothing does."""
        return None

    def _packing(self, names: list[str]) -> Sequence[int]:
        """The order in which images are packed."""
        return range(len(names))

    def _source_at(self, root: Path) -> Source:
        """What is stored, read once for all that is asked of it. Raises InputError."""
        if root not in self._read_at:
            self._read_at[root] = self._read(root / self.config.path)
        return self._read_at[root]

    def open(self, root: Path) -> None:
        """Read names and labels, and the pixels where they are kept in memory. Raises InputError."""
        self._fill(self._source_at(root))
        self._hold_out(root)
        self._tell_empty_classes()

    def _hold_out(self, root: Path) -> None:
        """Take away what is never trained on."""

    def _tell_empty_classes(self) -> None:
        """Warn of classes that no image is left of: nobody can learn them, and a label asks for them still."""
        known = self.classes(torch.arange(len(self._rows))) if self._labels and not self._captions else None
        if known is None:
            return
        empty = (known.bincount(minlength=self.label_dim) == 0).nonzero().flatten().tolist()
        if empty:
            names = self.class_names or range(self.label_dim)
            classes = counted(self.label_dim, "class", "classes")
            tell(self._source.where, f"{len(empty)} of {classes} without images: {some([names[c] for c in empty])}")

    def _fill(self, source: Source) -> None:
        if source.faults:
            raise InputError.listing(source.faults)
        if not source.names:
            raise InputError(f"{source.where}: holds no images: PNG, JPEG or WebP files, or an array [N, H, W, C]")
        config = self.config
        self._source, self._labels = source, source.labels if config.labels else None
        self._chosen = torch.tensor(subset(len(source.names), config.max_size, config.max_size_seed))
        first = source.pixels(0)
        _, width, self.channels = first.shape
        if fault := shape_fault(first.shape, first.shape):
            raise InputError(f"{source.where}: {source.names[0]}: {fault}; {PACK}")
        self.resolution, self.shape = width, (self.channels, width, width)
        self._stored = self.shape
        told = source.captions if isinstance(source, Files) else None
        self._told = told
        self._captions = told if told and told.embedded and self.config.words else None
        self.label_dim = self._captions.layout.size if self._captions else self._labels.dim if self._labels else 0
        if self._labels and self._labels.names:
            self.class_names = list(self._labels.names)
        self._memory: Tensor | None = None
        if isinstance(source, Arrays):
            u = torch.from_numpy(source.images).permute(0, 3, 1, 2)
            self._memory = u if len(self._chosen) == len(u) else u[self._chosen]
        elif self._in_memory(len(self._chosen) * first.nbytes):
            self._memory = self._decoded(torch.from_numpy(first).dtype)
        self._ahead = self._look_ahead(torch.from_numpy(first).dtype) if self._memory is None else None
        self.looks_ahead = self._ahead is not None
        self._rows, self._flip = torch.arange(len(self._chosen)), config.xflip
        self._twin: ImageSet | None = None

    def _decoded(self, dtype: torch.dtype) -> Tensor:
        u, faults = torch.empty(len(self._chosen), *self._stored, dtype=dtype), []
        for row in range(len(u)):
            try:
                u[row] = self._pixels(row)
            except InputError as error:
                faults.append(str(error))
        if faults:
            raise InputError.listing(faults)
        return u

    def _pixels(self, row: int) -> Tensor:
        """One of the chosen images as it is stored [C,H,W]."""
        i = int(self._chosen[row])
        pixels = self._source.pixels(i)
        channels, height, width = self._stored
        fault = shape_fault(pixels.shape, (height, width, channels))
        if fault:
            raise InputError(f"{self._source.where}: {self._source.names[i]}: {fault}; {PACK}")
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def __len__(self) -> int:
        return len(self._rows) * (2 if self._flip else 1)

    def images(self, index: Tensor) -> Tensor:
        """Images x [n,C,H,W] float32 in [-1,1] of int64 index [n]: u/127.5 - 1 of bytes u."""
        # In place: new memory takes longer than the arithmetic.
        return self._at(index).to(torch.float32, copy=True).div_(127.5).sub_(1)

    def _at(self, index: Tensor) -> Tensor:
        """What is stored [n,C,H,W] of int64 index [n], mirrored where the index says so."""
        rows = self._rows[index % len(self._rows)]
        x = taken(self._memory, rows) if self._memory is not None else self._read_now(rows)
        return torch.where((index >= len(self._rows)).view(-1, 1, 1, 1), x.flip(-1), x) if self._flip else x

    def _read_now(self, rows: Tensor) -> Tensor:
        """What is stored [n,C,H,W] of rows int64 [n], decoded ahead or now. Raises InputError that names an image."""
        if self._ahead is None or (begun := self._ahead.take(rows)) is None:
            return torch.stack(list(map(self._pixels, rows.tolist())))
        x, left = begun
        for place in left:
            x[place] = self._pixels(int(rows[place]))
        return x

    def ahead(self, index: Tensor) -> None:
        """Begin to decode what `sampled` will be asked for soon."""
        if self._ahead is not None:
            self._ahead.begin(self._rows[index % len(self._rows)])

    def labels(self, index: Tensor) -> Tensor | None:
        """Labels [n,L] float32 of int64 index [n], one-hot where they are classes; None when unconditional."""
        if self._captions:
            return self._captions(self._raw(index))
        return self._labels(self._raw(index)) if self._labels else None

    def classes(self, index: Tensor) -> Tensor | None:
        """Class of int64 index [n] -> int64 [n], known also with `labels = false`; None where there are none."""
        known = self._source.labels
        return known.classes[self._raw(index)] if known and known.classes is not None else None

    def names(self) -> list[str]:
        """Names of the stored images that this set uses, in its order."""
        return [self._source.names[i] for i in self._chosen[self._rows].tolist()]

    def _raw(self, index: Tensor) -> Tensor:
        return self._chosen[self._rows[index % len(self._rows)]]

    def _part(self, rows: list[int]) -> ImageSet:
        """Some of the rows as a set of their own, without mirror images."""
        part = copy.copy(self)
        part._rows, part._flip, part._twin = torch.tensor(rows), False, None
        return part

    def held_out(self) -> ImageSet | None:
        """The held-out images as a data set of their own; None when there are none."""
        return self._twin

    def pictures(self, root: Path) -> Iterator[Picture]:
        """All images as they are stored, of any size, for `distillkit data pack`. Raises InputError."""
        source = self._source_at(root)
        labels = source.labels if self.config.labels else None
        if labels and labels.names:
            self.class_names = list(labels.names)
        return self._pictures(source, labels)

    def _pictures(self, source: Source, labels: Labels | None) -> Iterator[Picture]:
        for fault in source.faults:
            yield Picture(source.where, None, fault=fault)
        told = source.captions if isinstance(source, Files) else None
        for i in self._packing(source.names):
            label = None if labels is None else labels.label(i)
            try:
                words = told.words[int(told.of[i])] if told else None
                yield Picture(source.names[i], source.pixels(i), label, words=words)
            except InputError as error:
                yield Picture(source.names[i], None, label, fault=str(error))
        if source.turned:
            done = "turned upright" if self.config.orientation == "exif" else "left as stored"
            tell(source.where, f"{counted(len(source.turned))} with an EXIF orientation, {done}")

    def faults(self, root: Path) -> Iterator[str]:
        """What keeps stored images from being trained on, a line each, for `distillkit data check`."""
        source = self._source_at(root)
        yield from source.faults
        first, advice = None, f"; {PACK}"
        for i, name in enumerate(source.names):
            try:
                shape = source.pixels(i).shape
            except InputError as error:
                yield str(error)
                continue
            fault = shape_fault(shape, first or shape)
            if fault:
                yield f"{source.where}: {name}: {fault}{advice}"
                advice = ""
            else:
                first = first or shape


def taken(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows] of images [N,C,H,W] in memory, its strides included: whole images are copied, not number by number."""
    if not (x.is_contiguous() or x.permute(0, 2, 3, 1).is_contiguous()):  # one image does not lie behind the other
        return x[rows]
    size = x[0].numel()
    whole = x.as_strided((len(x), size), (size, 1)).index_select(0, rows)
    # Networks compute in the layout of what they are given: another one would be other bits.
    return whole.as_strided((len(rows), *x.shape[1:]), (size, *x.stride()[1:]))


def shape_fault(shape: tuple[int, ...], first: tuple[int, ...]) -> str:
    """Why an image [H,W,C] does not fit the first one; "" where it does."""
    height, width, channels = shape
    if height != width:
        return f"{width}x{height}, must be square"
    if shape != first:
        return f"{width}x{height}x{channels}, the first is {first[1]}x{first[0]}x{first[2]}"
    return ""


def subset(size: int, max_size: int | None, seed: int) -> list[int]:
    """Which of `size` images a choice of max_size keeps, in order; the choice of EDM's loader."""
    if max_size is None or max_size >= size:
        return list(range(size))
    order = np.arange(size)
    np.random.RandomState(seed % (1 << 31)).shuffle(order)
    return sorted(order[:max_size].tolist())
