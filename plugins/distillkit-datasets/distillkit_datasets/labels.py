"""Labels of image files: dataset.json in EDM's format, or the folders that the images lie in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from distillkit.api import InputError, frozen
from distillkit_datasets.told import counted, some, tell
from distillkit_datasets.zipsafe import one_line

Label = int | list[float]
TABLE = "dataset.json"
WIDEST = 100_000  # classes, or entries of a label
LARGEST = torch.finfo(torch.float32).max
LONGEST = 512  # characters of a class's name
LOOSE = "(no folder)"  # the class of images that lie beside folders
MAKE = f"labels must be classes from 0 to {WIDEST - 1}, or lists of numbers of one length"
FORM = f'{TABLE} must hold {{"labels": [["name.png", 0], ...]}} or {{"labels": null}}'
NAMES = f"class_names of {TABLE} must be a list of names, each once, one for each class"
PACKED = re.compile(r"\d{5}/img(-mean-std-)?\d{8}\.(png|npy)")  # folders of EDM's layout are no classes


@frozen
class Labels:
    """One label per image: `classes` int64 [N], or `vectors` float32 [N,L] given as they are."""

    dim: int
    classes: Tensor | None = None
    vectors: Tensor | None = None
    names: tuple[str, ...] = ()  # of the classes

    @classmethod
    def of(cls, labels: Sequence[Label], images: Sequence[str], names: Sequence[str] = ()) -> Labels:
        """From whole numbers or lists of equal length. Raises InputError that names an image and its label."""
        width = len(labels[0]) if isinstance(labels[0], list) else 0
        fits = _is_class if not isinstance(labels[0], list) else lambda label: _is_vector(label, width)
        wrong = next((i for i, label in enumerate(labels) if not fits(label)), None)
        if wrong is not None:
            raise InputError(f"{images[wrong]}: label {_shown(labels[wrong])}; {MAKE}")
        if width:
            return cls(width, vectors=torch.tensor(labels, dtype=torch.float32))
        classes = torch.tensor(labels)
        most = int(classes.max())
        if names and most >= len(names):
            raise InputError(f"{images[int(classes.argmax())]}: label {most}; class_names has {len(names)}")
        return cls(max(most + 1, len(names)), classes=classes, names=tuple(names))

    def __call__(self, rows: Tensor) -> Tensor:
        """Labels [n,dim] float32 of rows int64 [n]; one-hot where they are classes."""
        if self.vectors is not None:
            return self.vectors[rows]
        assert self.classes is not None
        return one_hot(self.classes[rows], self.dim).float()

    def label(self, i: int) -> Label:
        """Of image i, as it was given."""
        given = self.classes if self.vectors is None else self.vectors
        assert given is not None
        label: Label = given[i].tolist()
        return label


def _is_class(label: object) -> bool:
    return type(label) is int and 0 <= label < WIDEST


def _is_vector(label: object, width: int) -> bool:
    """Whether it is so many numbers that float32 can hold."""
    if type(label) is not list or len(label) != width or not 0 < width <= WIDEST:
        return False
    return all(type(x) in (int, float) and -LARGEST <= x <= LARGEST for x in label)


def _shown(value: object) -> str:
    """A value of JSON, short and on one line."""
    return one_line(json.dumps(value))[:80]


def from_json(data: bytes, images: Sequence[str], where: str) -> Labels | None:
    """The label of each image as dataset.json says; None where it says `{"labels": null}`.

    Raises InputError; warns of what is listed twice, and of labels without an image.
    """
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{FORM} ({one_line(error)})") from error
    if not isinstance(table, dict) or not {"labels", "captions"} & table.keys():
        raise InputError(FORM)
    if table.get("labels") is None:
        return None
    labels = _by_name(table["labels"], where)
    missing = [name for name in images if name not in labels]
    if missing:
        more = f", nor for {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}: {TABLE} has no label for it{more}")
    extra = labels.keys() - set(images)
    if extra:
        tell(where, f"{TABLE} has labels of {counted(len(extra))} not among those read: {some(sorted(extra))}")
    found = [labels[name] for name in images]
    names = table.get("class_names")
    if names is not None and (isinstance(found[0], list) or not _are_names(names)):
        raise InputError(NAMES)
    return Labels.of(found, images, names or ())


def _by_name(rows: Any, where: str) -> dict[str, Label]:
    """Image -> label. Raises InputError for an image that has two."""
    labels: dict[str, Label] = {}
    twice = []
    for i, row in enumerate(rows if isinstance(rows, list) else [rows]):
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise InputError(f"{FORM}; entry {i} is {_shown(row)}")
        name, label = row[0].replace("\\", "/"), row[1]
        if name in labels:
            twice.append(name)
            if _shown(labels[name]) != _shown(label):
                raise InputError(f"{TABLE} lists {some([name])} twice, as {_shown(labels[name])} and {_shown(label)}")
        labels[name] = label
    if twice:
        tell(where, f"{TABLE} lists {counted(len(twice))} twice, with the same label: {some(twice)}")
    return labels


def _are_names(names: Any) -> bool:
    if not (isinstance(names, list) and 0 < len(names) <= WIDEST and all(isinstance(name, str) for name in names)):
        return False
    return len(set(names)) == len(names) and all(0 < len(name) <= LONGEST and name.isprintable() for name in names)


def from_folders(images: Sequence[str], where: str) -> Labels | None:
    """Class of each image = its top-level folder, in alphabetical order; None: just one folder.

    Warns of images beside the folders, which are a class as in EDM, and of folders that are too deep to be classes.
    """
    tops = [name.split("/")[0] if "/" in name else "" for name in images]
    names = sorted(set(tops))
    if all(PACKED.fullmatch(name) for name in images):
        return None
    if len(names) < 2:
        if names[0] and len({name.split("/")[1] for name in images if name.count("/") > 1}) > 1:
            tell(where, f"all images lie in {some(names)}: classes are folders at the top, so there are none")
        return None
    index = {name: i for i, name in enumerate(names)}
    if names[0] == "":
        tell(where, f"{counted(tops.count(''))} beside the folders of the classes: a class of its own, {LOOSE}")
        names[0] = LOOSE
    return Labels.of([index[top] for top in tops], images, names)
