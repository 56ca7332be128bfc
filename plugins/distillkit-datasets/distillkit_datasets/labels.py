"""Labels of image files: dataset.json in EDM's format, or the folders that the images lie in."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from distillkit.api import InputError, frozen

Label = int | list[float]
WIDEST = 100_000  # classes, or entries of a label
PACKED = re.compile(r"\d{5}/img(-mean-std-)?\d{8}\.(png|npy)")  # folders of EDM's layout are no classes


@frozen
class Labels:
    """One label per image: `classes` int64 [N], or `vectors` float32 [N,L] given as they are."""

    dim: int
    classes: Tensor | None = None
    vectors: Tensor | None = None
    names: tuple[str, ...] = ()  # of the classes

    @classmethod
    def of(cls, labels: Sequence[Label], names: Sequence[str] = ()) -> Labels:
        """From whole numbers or lists of equal length. Raises InputError."""
        if labels and all(type(label) is int and 0 <= label < WIDEST for label in labels):
            return cls(max(labels) + 1, classes=torch.tensor(labels), names=tuple(names))
        widths = {len(label) if isinstance(label, list) else 0 for label in labels}
        if len(widths) != 1 or not 0 < max(widths) <= WIDEST or not all(map(_is_vector, labels)):
            raise InputError(f"labels must be classes from 0 to {WIDEST - 1}, or lists of numbers of one length")
        return cls(max(widths), vectors=torch.tensor(labels, dtype=torch.float32))

    def __call__(self, rows: Tensor) -> Tensor:
        """Labels [n,dim] float32 of rows int64 [n]; one-hot where they are classes."""
        return one_hot(self.classes[rows], self.dim).float() if self.vectors is None else self.vectors[rows]


def _is_vector(label: object) -> bool:
    return isinstance(label, list) and all(type(x) in (int, float) and math.isfinite(x) for x in label)


def from_json(data: bytes, images: Sequence[str]) -> list[Label] | None:
    """The label of each image as dataset.json says; None where it says `{"labels": null}`. Raises InputError."""
    try:
        table = json.loads(data)["labels"]
        if table is None:
            return None
        labels = {name.replace("\\", "/"): label for name, label in table}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError('dataset.json must hold {"labels": [["name.png", 0], ...]} or {"labels": null}') from error
    missing = next((name for name in images if name not in labels), None)
    if missing is not None:
        raise InputError(f"{missing}: dataset.json has no label for it")
    return [labels[name] for name in images]


def from_folders(images: Sequence[str]) -> tuple[list[Label], list[str]] | None:
    """Class of each image = its top-level folder, in alphabetical order, and their names; None: just one folder."""
    tops = [name.split("/")[0] if "/" in name else "" for name in images]
    names = sorted(set(tops))
    if len(names) < 2 or all(PACKED.fullmatch(name) for name in images):
        return None
    index = {name: i for i, name in enumerate(names)}
    return [index[top] for top in tops], names
