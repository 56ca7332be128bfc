"""Images of any kind into a zip in the layout of EDM: stored PNGs of one size, or their latents, and dataset.json."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import numpy as np
from attrs import define, field, frozen
from PIL import Image

from distillkit.api import InputError, Picture, UsageError
from distillkit.disk.files import fsync, told
from distillkit.images.captions import Words

Pixels = np.ndarray  # uint8 [H,W,C]
Transform = Callable[[Pixels, int, int], Pixels | None]
Encode = Callable[[Pixels], np.ndarray]  # -> mean and std of latents, float32 [2C,h,w]

STRIP = 100
HINT = 'dataset.json has them in "captions", and --captions makes them of classes'


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Lanczos; an image that has the size already is left alone."""
    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0])
    resized = np.array(image.resize((width, height), Image.Resampling.LANCZOS))
    return resized if resized.ndim == 3 else resized[:, :, None]


def center_crop(pixels: Pixels, width: int, height: int) -> Pixels:
    """The largest square in the middle, in RGB, resized."""
    side = min(pixels.shape[:2])
    top, bottom = ((pixels.shape[0] + sign * side) // 2 for sign in (-1, 1))
    left, right = ((pixels.shape[1] + sign * side) // 2 for sign in (-1, 1))
    return resize(_rgb(pixels[top:bottom, left:right]), width, height)


def center_crop_wide(pixels: Pixels, width: int, height: int) -> Pixels | None:
    """Rows in the middle resized to width x height, on black width x width; None: the image is too small."""
    rows = round(width * pixels.shape[0] / pixels.shape[1])
    if pixels.shape[1] < width or rows < height:
        return None
    top, bottom = ((pixels.shape[0] + sign * rows) // 2 for sign in (-1, 1))
    canvas = np.zeros((width, width, 3), np.uint8)
    canvas[(width - height) // 2 : (width + height) // 2] = resize(_rgb(pixels[top:bottom]), width, height)
    return canvas


def _rgb(pixels: Pixels) -> Pixels:
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2)


def center_crop_dhariwal(pixels: Pixels, width: int, height: int) -> Pixels:
    """Halved while it is twice too large, the shorter side resized, the middle cropped: ImageNet's for EDM2.

    Source: arXiv:2105.05233, in the form of its authors' code. Raises InputError for a strip: all of it is resized.
    """
    if max(pixels.shape[:2]) > STRIP * min(pixels.shape[:2]):
        raise InputError(f"one side is more than {STRIP} times the other")
    image = Image.fromarray(_rgb(pixels))
    while min(image.size) >= 2 * width:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = width / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return np.array(image)[top : top + height, left : left + width]


TRANSFORMS: dict[str, Transform] = {
    "center-crop": center_crop, "center-crop-wide": center_crop_wide, "center-crop-dhariwal": center_crop_dhariwal,
}  # fmt: skip


@frozen
class Packed:
    """What was written."""

    images: int
    shape: tuple[int, int, int]  # H, W, C
    labels: int  # images with a label: all or none
    left_out: int  # too small for center-crop-wide
    damaged: list[str]  # what could not be read and was left out, a line each
    captions: int = 0  # different ones


def pack(
    pictures: Iterable[Picture],
    out: Path,
    size: tuple[int, int] | None,
    transform: str | None = None,
    encode: Encode | None = None,
    *,
    class_names: Sequence[str] = (),
    skip_damaged: bool = False,
    words: Words | None = None,
) -> Packed:
    """Write the images, resized to (width, height), to a zip that must not exist; `encode`: their latents.

    `skip_damaged`: leave out what cannot be read. `words`: what embeds their captions.

    Raises InputError that names all images which cannot be read or do not fit the others, UsageError if `out` exists.
    """
    if out.exists():
        raise UsageError(f"{out} exists already; remove it, or choose another name")
    if transform and size is None:
        raise UsageError(f"--transform {transform} needs a --resolution")
    part = out.with_name(f".tmp-{out.name}")
    part.unlink(missing_ok=True)
    try:
        with told(out):
            with ZipFile(part, "x") as archive:
                writer = _Writer(archive, TRANSFORMS.get(transform or "", resize), size, encode, skip_damaged)
                packed = writer.write(pictures, class_names, words)
            fsync(part)
            os.replace(part, out)
    except FileNotFoundError as error:
        raise UsageError(f"{out}: cannot be written, {out.parent} is no folder") from error
    finally:
        part.unlink(missing_ok=True)
    fsync(out.parent)
    return packed


@define
class _Writer:
    """One zip in the making."""

    archive: ZipFile
    fit: Transform
    size: tuple[int, int] | None
    encode: Encode | None
    skip_damaged: bool
    shape: tuple[int, int, int] | None = None  # H, W, C of the first image
    labels: list[tuple[str, int | list[float] | None]] = field(factory=list)
    captions: list[tuple[str, str | None]] = field(factory=list)
    faults: list[str] = field(factory=list)
    damaged: list[str] = field(factory=list)

    def write(self, pictures: Iterable[Picture], class_names: Sequence[str], words: Words | None = None) -> Packed:
        i = -1
        for i, picture in enumerate(pictures):  # the number counts images that are left out, too
            self._add(i, picture)
        if self.faults:
            raise InputError.listing(self.faults)
        if self.shape is None:
            seen = i + 1 - len(self.damaged)
            none = "there are no images to pack: no PNG, JPEG or WebP files"
            raise InputError(f"all {seen} images are too small" if seen else none)
        labelled = [pair for pair in self.labels if pair[1] is not None]
        whole = len(labelled) == len(self.labels)
        table: dict[str, object] = {"labels": labelled if whole else None}
        if whole and class_names:
            table["class_names"] = list(class_names)
        told = [word for _, word in self.captions if word is not None]
        if len(told) == len(self.captions):
            table["captions"] = self.captions
        elif words is not None:
            raise InputError(f"{len(self.captions) - len(told)} of {len(self.captions)} images have no caption: {HINT}")
        if words is not None:
            table["text_encoder"] = words.facts()
            for name, data in words.entries(told):
                self.archive.writestr(ZipInfo(name), data)
        self.archive.writestr(ZipInfo("dataset.json"), json.dumps(table))
        small = i + 1 - len(self.damaged) - len(self.labels)
        different = len(set(told)) if "captions" in table else 0
        return Packed(len(self.labels), self.shape, len(labelled) if whole else 0, small, self.damaged, different)

    def _add(self, i: int, picture: Picture) -> None:
        if picture.fault:
            (self.damaged if self.skip_damaged else self.faults).append(picture.fault)
            return
        height, width = picture.pixels.shape[:2]
        try:
            pixels = self.fit(picture.pixels, *(self.size or (width, height)))
        except InputError as error:
            (self.damaged if self.skip_damaged else self.faults).append(f"{picture.name}: {width}x{height}: {error}")
            return
        if pixels is None:
            return
        height, width, channels = pixels.shape
        self.shape = self.shape or (height, width, channels)
        if fault := _fault(pixels.shape, self.shape):
            self.faults.append(f"{picture.name}: {fault}")
        if self.faults:  # nothing will come of it: the rest is looked at, not written
            return
        data = _npy(self.encode(pixels)) if self.encode else _png(pixels)
        name = f"{i // 1000:05d}/img{f'-mean-std-{i:08d}.npy' if self.encode else f'{i:08d}.png'}"
        self.archive.writestr(ZipInfo(name), data)
        self.labels.append((name, picture.label))
        self.captions.append((name, picture.words))


def _fault(shape: tuple[int, ...], first: tuple[int, ...]) -> str:
    text, wanted = ("x".join(map(str, (each[1], each[0], each[2]))) for each in (shape, first))
    if shape[0] != shape[1]:
        return f"{text} is not square; --resolution N makes it so"
    if shape[:2] != first[:2]:
        return f"{text}, the first image is {wanted}; --resolution N makes them alike"
    return "" if shape == first else f"{text}, the first image is {wanted}; --transform center-crop makes all RGB"


def _npy(moments: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, moments, allow_pickle=False)
    return file.getvalue()


def _png(pixels: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0]).save(file, "png", compress_level=0)
    return file.getvalue()
