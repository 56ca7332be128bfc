"""Generated images as files: a sheet, an array, a folder of PNGs, or a zip in the layout of EDM."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from PIL import Image

from distillkit.api import Images, Picture, UsageError
from distillkit.disk import files
from distillkit.images import pictures
from distillkit.images.pack import pack

MOST_COLUMNS = 32


@frozen
class Drawn:
    """Images with the seeds they were made from."""

    images: Images
    seeds: list[int]
    title: str = ""
    words: Sequence[str] | None = None  # what each was asked for, where that is words

    @property
    def classes(self) -> list[int] | None:
        """Of each image; None: without labels, or they are not of classes alone."""
        labels = self.images.labels
        if labels is None or self.words is not None:
            return None
        return labels.argmax(1).tolist()

    def pixels(self) -> np.ndarray:
        """uint8 [n,H,W,C]. Raises UsageError unless C is 1 or 3."""
        channels = self.images.x.shape[1]
        if channels not in (1, 3):
            raise UsageError(f"images of {channels} channels have no pixels: choose a .png, which is a sheet")
        return pictures.to_bytes(self.images.x)[..., :channels]

    def pictures(self) -> list[Picture]:
        """Named by their seeds, as EDM does."""
        classes: Sequence[int | None] = self.classes or [None] * len(self.seeds)
        words: Sequence[str | None] = self.words or [None] * len(self.seeds)
        rows = zip(self.seeds, self.pixels(), classes, words, strict=True)
        return [Picture(f"{seed:06d}.png", pixels, label, words=word) for seed, pixels, label, word in rows]


def writer(out: Path) -> Callable[[Drawn, Path], None]:
    """What writes a path of this name. Raises UsageError for a suffix that is none of ours."""
    known = {".png": sheet, ".npz": array, ".zip": edm_zip, "": folder}
    if out.suffix.lower() not in known or not out.name:
        raise UsageError(f"{out}: the name must end with .png, .npz or .zip, or have no suffix for a folder of PNGs")
    return known[out.suffix.lower()]


def write(drawn: Drawn, out: Path, force: bool = False) -> None:
    """Write by suffix, complete or not at all; `force`: in place of what is there."""
    write_to = writer(out)
    refuse_existing(out, force)
    with files.staged(out) as new:
        write_to(drawn, new)
        refuse_existing(out, force)
        if out.is_dir() and not out.is_symlink():  # a name cannot be put in place of a folder with something in it
            files.remove(out)
        os.replace(new, out)


def refuse_existing(out: Path, force: bool) -> None:
    """Raises UsageError where something would be overwritten; `force` never removes a folder of other things."""
    if os.path.lexists(out) and not force:
        raise UsageError(f"{out} exists already; choose another name, or --force")
    if out.is_dir() and any(path.suffix != ".png" for path in out.iterdir()):
        raise UsageError(f"{out} holds more than PNGs and is left alone; choose another name")


def sheet(drawn: Drawn, out: Path) -> None:
    columns = min(MOST_COLUMNS, math.ceil(math.sqrt(len(drawn.seeds))))
    turns = list(dict.fromkeys(drawn.words or ()))
    title = f"{drawn.title}   {turns[0]}" if len(turns) == 1 else drawn.title
    named = None
    if 1 < len(turns) <= MOST_COLUMNS:  # the words take turns, and so do the columns
        named = pictures.told_apart(turns) * max(1, round(columns / len(turns)))
    pictures.grid(drawn.images.x, out, columns=len(named) if named else columns, title=title, labels=named)


def array(drawn: Drawn, out: Path) -> None:
    """images uint8 [n,H,W,C], seeds int64 [n], labels int64 [n] or prompts, text [n], where there are any."""
    labels: dict[str, Any] = {} if drawn.classes is None else {"labels": np.array(drawn.classes)}
    labels |= {} if drawn.words is None else {"prompts": np.array(drawn.words)}
    np.savez(out, images=drawn.pixels(), seeds=np.array(drawn.seeds), **labels)


def folder(drawn: Drawn, out: Path) -> None:
    out.mkdir()
    for picture in drawn.pictures():
        pixels = picture.pixels
        Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0]).save(out / picture.name)


def edm_zip(drawn: Drawn, out: Path) -> None:
    pack(drawn.pictures(), out, None)
