"""Images in one array of a npz file, read without pickle."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast
from zipfile import ZipExtFile, ZipFile

import numpy as np

from distillkit.api import InputError
from distillkit_datasets.arrays import Arrays
from distillkit_datasets.held_out import SplitImageSet
from distillkit_datasets.labels import Labels
from distillkit_datasets.npy import header
from distillkit_datasets.zipsafe import as_zipfile, one_line, open_zip

SHOWN = 6  # arrays in a message
LARGEST = 16 << 30  # bytes of an array; it is held in memory
SMALL = 1 << 20  # bytes of an array that may deflate by any ratio: labels in order do
IMAGES, LABELS = ("images", "arr_0"), ("labels", "arr_1")  # the second names are those of `np.savez(path, x, y)`


class Npz(SplitImageSet):
    """Images in a npz: `images` uint8 [N,H,W,C], [N,C,H,W] or [N,H,W], and `labels` whole numbers [N]."""

    def _read(self, path: Path) -> Arrays:
        with as_zipfile(open_zip(path, largest=LARGEST, small=SMALL)) as archive:
            try:
                images, labels = array(archive, IMAGES), array(archive, LABELS)
                if images is None:
                    raise InputError(f"has no array called {' or '.join(IMAGES)}, as np.savez(PATH, images=x) does")
                return _arrays(path, as_nhwc(images), labels)
            except InputError as error:
                raise InputError(f"{path}: {error}; it holds {contents(archive)}") from error


def _arrays(path: Path, images: np.ndarray, labels: np.ndarray | None) -> Arrays:
    """Raises InputError for labels that do not fit."""
    if labels is None or not len(images):
        return Arrays(str(path), images, None)
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise InputError(f"labels are {labels.dtype} {list(labels.shape)}, must be one whole number each")
    return Arrays(str(path), images, Labels.of(labels.tolist(), [f"image {i}" for i in range(len(labels))]))


def contents(archive: ZipFile) -> str:
    """The arrays that are there, by name, kind and shape, on one line."""
    told = []
    for name in archive.namelist()[:SHOWN]:
        try:
            with archive.open(name) as file:
                shape, _, dtype = header(file)
            told.append(f"{name.removesuffix('.npy')} {dtype} {list(shape)}")
        except Exception:  # a damaged header makes numpy raise nearly anything
            told.append(f"{name}, no array")
    more = len(archive.namelist()) - SHOWN
    return one_line(", ".join(told) + (f" and {more} more" if more > 0 else "") or "nothing")


def as_nhwc(images: np.ndarray) -> np.ndarray:
    """Images as [N,H,W,C], C = 1 or 3, whichever way they lie. Raises InputError."""
    if images.dtype == np.uint8 and 0 not in images.shape[1:]:
        if images.ndim == 3:
            return images[..., None]
        if images.ndim == 4 and images.shape[3] in (1, 3):
            return images
        if images.ndim == 4 and images.shape[1] in (1, 3):
            return images.transpose(0, 2, 3, 1)
    raise InputError(f"images are {images.dtype} {list(images.shape)}, must be uint8 [N,H,W,C] with 1 or 3 channels")


def array(archive: ZipFile, names: tuple[str, ...]) -> np.ndarray | None:
    """The first array of these names; None when there is none of them. Raises InputError."""
    found = [name for name in names if f"{name}.npy" in archive.namelist()]
    if not found:
        return None
    try:
        return plain_array(archive, f"{found[0]}.npy")
    except Exception as error:  # a damaged header makes numpy raise nearly anything: SyntaxError, TokenError ...
        raise InputError(f"{found[0]}: no readable array ({one_line(error)})") from error


def plain_array(archive: ZipFile, name: str) -> np.ndarray:
    """Numbers [...] whose header agrees with their size. Raises ValueError and what zipfile raises."""
    with archive.open(name) as file:
        shape, fortran, dtype = header(file)
        want = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or dtype.kind not in "iu" or any(n < 0 for n in shape):
            raise ValueError(f"{dtype} {shape}, must be plain whole numbers")
        if want != archive.getinfo(name).file_size - file.tell():
            raise ValueError(f"the header tells of {want} bytes, which is not what follows")
        numbers = np.empty(want // dtype.itemsize, dtype)
        if cast(ZipExtFile, file).readinto(numbers.data) != want:  # into memory of our own: torch wants it writable
            raise ValueError(f"ends before its {want} bytes do")
        return numbers.reshape(shape, order="F" if fortran else "C")
