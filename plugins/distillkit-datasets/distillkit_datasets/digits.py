"""Scikit-learn's handwritten digits: 1,797 real images that ship with the dependency."""

from __future__ import annotations

import copy
import gzip
import zlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from distillkit.api import Dataset, Picture, field, frozen, ge, lt
from distillkit.noise import fold

SIZE, CLASSES = 1797, 10
FILE = "sklearn/datasets/data/digits.csv.gz"


def quotas(counts: list[int], total: int) -> list[int]:
    """Split `total` in proportion to `counts`: largest remainders get the rounding, ties go to the lower class."""
    shares = [divmod(count * total, sum(counts)) for count in counts]
    quota = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(counts)), key=lambda c: (-shares[c][1], c))
    for c in by_remainder[: total - sum(quota)]:
        quota[c] += 1
    return quota


def split(classes: list[int], held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices of train and held-out images, stratified by class; hashes decide, so no library version matters."""
    members: dict[int, list[int]] = {c: [] for c in sorted(set(classes))}
    for i in sorted(range(len(classes)), key=lambda i: fold(seed, "split", i)):
        members[classes[i]].append(i)
    quota = quotas([len(m) for m in members.values()], held_out)
    test = {i for m, n in zip(members.values(), quota, strict=True) for i in m[:n]}
    return [i for i in range(len(classes)) if i not in test], sorted(test)


@cache  # the file is text, which takes long to read
def everything() -> tuple[Tensor, Tensor]:
    """All images x [1797,1,8,8] in [-1,1] and their digits, int64 [1797]."""
    levels, classes = of_file() or of_scikit()
    return levels.float().reshape(-1, 1, 8, 8) / 8 - 1, classes  # 17 gray levels, 0..16


def of_file() -> tuple[Tensor, Tensor] | None:
    """Gray levels [1797,64] and digits, int64, from the file itself: to import scikit-learn takes a second."""
    try:
        path = Path(str(distribution("scikit-learn").locate_file(FILE)))
        raw = gzip.decompress(path.read_bytes())
        rows = torch.tensor([[int(value) for value in line.split(b",")] for line in raw.splitlines()])
    except (OSError, EOFError, ValueError, zlib.error, PackageNotFoundError):
        return None
    return (rows[:, :-1], rows[:, -1]) if rows.shape == (SIZE, 65) else None


def of_scikit() -> tuple[Tensor, Tensor]:
    """The same by scikit-learn, wherever its file is."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    return torch.from_numpy(raw.data), torch.from_numpy(raw.target).long()


class Digits(Dataset):
    """Handwritten digits, 1x8x8, ten classes, with held-out images (from scikit-learn, no download).

    Source: UCI "Optical Recognition of Handwritten Digits" (test part), as in `sklearn.datasets.load_digits`.
    """

    known_as = "digits"

    @frozen(kw_only=True)
    class Config:
        conditional: bool = True  # give the ten classes as labels
        held_out: int = field(default=359, validator=[ge(0), lt(SIZE)])  # images never trained on
        split_seed: int = field(default=0, validator=ge(0))  # which images are held out

    resolution, channels, shape = 8, 1, (1, 8, 8)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.label_dim = CLASSES if config.conditional else 0

    def open(self, root: Path) -> None:
        """Split the images; `root` is not used."""
        x, classes = everything()
        train, test = split(classes.tolist(), self.config.held_out, self.config.split_seed)
        self._x, self._classes = x[train], classes[train]
        self._test: tuple[Tensor, Tensor] | None = (x[test], classes[test]) if test else None

    def __len__(self) -> int:
        return len(self._x)

    def images(self, index: Tensor) -> Tensor:
        """Images x [n,1,8,8] in [-1,1] of int64 index [n]."""
        return self._x[index]

    def classes(self, index: Tensor) -> Tensor:
        """Digit 0..9 of int64 index [n] -> int64 [n]; known also when unconditional."""
        return self._classes[index]

    def labels(self, index: Tensor) -> Tensor | None:
        """One-hot labels [n,10] of int64 index [n]; None when unconditional."""
        return one_hot(self.classes(index), CLASSES).float() if self.label_dim else None

    def pictures(self, root: Path) -> Iterator[Picture]:
        """All 1,797 images in their order, for `distillkit data pack digits`: levels become bytes."""
        x, classes = everything()
        u = ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for i, label in enumerate(classes.tolist()):
            yield Picture(f"digit {i}", u[i], label if self.label_dim else None)

    def held_out(self) -> Digits | None:
        """The held-out images as a data set of their own; None when there are none."""
        if self._test is None:
            return None
        other = copy.copy(self)
        (other._x, other._classes), other._test = self._test, None
        return other
