"""CIFAR-10 from the tar that its authors publish, in the binary or the Python version; no pickle is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from distillkit.api import FILE, InputError, field, frozen, min_len
from distillkit_datasets.arrays import Arrays
from distillkit_datasets.cifar_batch import read_batch
from distillkit_datasets.image_set import ImageSet
from distillkit_datasets.labels import Labels
from distillkit_datasets.tar import members

ROW = 1 + 3 * 32 * 32  # bytes of an image in the binary version: its class, then red, green, blue
BATCHES = [f"data_batch_{i}" for i in range(1, 6)]
LARGEST = 32 << 20  # bytes of one batch; a published one takes 31 MB


class Cifar10(ImageSet):
    """CIFAR-10, 3x32x32, ten classes: cifar-10-binary.tar.gz or cifar-10-python.tar.gz, read in place.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).
    """

    known_as = "cifar10"

    @frozen(kw_only=True)
    class Config(ImageSet.Config):
        path: str = field(default="cifar-10-binary.tar.gz", validator=min_len(1), metadata=FILE)
        """the published archive of the binary version"""
        held_out: bool = True  # hold out the tar's test images

    class_names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

    def open(self, root: Path) -> None:
        """Read all batches into memory. Raises InputError."""
        super().open(root)
        if self.config.held_out:
            self._twin = type(self)(type(self).Config(path=self.config.path, labels=self.config.labels, held_out=False))
            self._twin._fill(self._test)

    def _read(self, path: Path) -> Arrays:
        names = [*BATCHES, "test_batch"]
        found = members(path, {name + end: LARGEST for name in names for end in ("", ".bin")})
        parts = {name.removesuffix(".bin"): _batch(path, name, data) for name, data in found.items()}
        missing = [name for name in names if name not in parts]
        if missing:
            raise InputError(
                f"{path}: has no {missing[0]}; it must be cifar-10-binary.tar.gz or cifar-10-python.tar.gz"
            )
        self._test = _arrays(path, [parts["test_batch"]])
        return _arrays(path, [parts[name] for name in BATCHES])


def _batch(path: Path, name: str, data: bytes) -> tuple[np.ndarray, list[int]]:
    """Images uint8 [n,3,32,32] and classes of a batch in either version. Raises InputError."""
    if not name.endswith(".bin"):
        try:
            pixels, classes = read_batch(data)
        except InputError as error:
            raise InputError(f"{path}: {name}: {error}") from error
        return pixels.reshape(-1, 3, 32, 32), classes
    if len(data) % ROW:
        raise InputError(f"{path}: {name}: {len(data)} bytes, must be a multiple of {ROW}")
    rows = np.frombuffer(data, np.uint8).reshape(-1, ROW)
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].tolist()


def _arrays(path: Path, batches: list[tuple[np.ndarray, list[int]]]) -> Arrays:
    images = np.concatenate([images for images, _ in batches]).transpose(0, 2, 3, 1)
    classes = [c for _, batch in batches for c in batch]
    if max(classes, default=0) > 9:
        raise InputError(f"{path}: class {max(classes)}, must be 0 to 9")
    return Arrays(str(path), images, Labels(10, classes=torch.tensor(classes)))
