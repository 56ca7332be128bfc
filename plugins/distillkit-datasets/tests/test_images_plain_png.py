"""The short way to the pixels of plain PNGs gives what Pillow's reader gives, of damaged ones too."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from distillkit_datasets import images
from distillkit_datasets.headers import header
from distillkit_datasets.images import decode, decode_beside
from distillkit_datasets.plain_png import plain_png
from image_files import GREY, RGB, chunk, exif, noise, png, saved
from PIL import Image

from distillkit.api import InputError


def filtered(rng: np.random.RandomState, channels: int, parts: int = 1, interlaced: int = 0) -> bytes:
    """A PNG of random numbers, each row with a filter of its own, its data in so many chunks."""
    height, width = rng.randint(1, 12, 2)
    rows = b"".join(bytes([rng.randint(5)]) + rng.bytes(width * channels) for _ in range(height))
    data = zlib.compress(rows)
    cuts = [0, *sorted(rng.randint(0, len(data), parts - 1)), len(data)]
    kind = GREY if channels == 1 else RGB
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, kind, 0, 0, interlaced))
    pixels = b"".join(chunk(b"IDAT", data[a:b]) for a, b in pairwise(cuts))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"gAMA", bytes(4)) + pixels + chunk(b"IEND", b"")


def outcome(data: bytes) -> list[object] | str:
    try:
        return decode("x", data).pixels.tolist()
    except InputError as error:
        return str(error)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], list[object]]:
    """What the short way and Pillow's make of a file."""

    def run(data: bytes) -> list[object]:
        with monkeypatch.context() as patch:
            patch.setattr(images, "plain_png", lambda *_: None)
            return [outcome(data), patch.undo() or outcome(data)]

    return run


@pytest.mark.parametrize("seed", range(40))
def test_every_filter_and_any_number_of_chunks(seed: int, both: Callable[[bytes], list[object]]) -> None:
    rng = np.random.RandomState(seed)
    data = filtered(rng, (1, 3)[seed % 2], parts=1 + seed % 4)
    assert plain_png(data, header(data)) is not None
    slow, fast = both(data)
    assert slow == fast and isinstance(fast, list)


@pytest.mark.parametrize("seed", range(300))
def test_a_changed_or_missing_byte(seed: int, both: Callable[[bytes], list[object]]) -> None:
    rng = np.random.RandomState(seed)
    data = filtered(rng, (1, 3)[seed % 2], parts=1 + seed % 3, interlaced=seed % 7 == 0)
    at = rng.randint(8, len(data))
    slow, fast = both(data[:at] + rng.bytes(rng.randint(2)) + data[at + 1 :])
    assert slow == fast


ODD = {
    "a palette": saved(Image.fromarray(noise(4, 4, 3)).convert("P")),
    "16 bits": png(noise(4, 4, 3).astype(np.uint16) * 257, RGB, 16),
    "alpha": saved(Image.fromarray(noise(4, 4, 4))),
    "EXIF": saved(Image.fromarray(noise(4, 4, 3)), exif=exif(6)),
    "a transparent colour": png(noise(4, 4, 3), RGB, 8, chunk(b"tRNS", bytes(6))),
    "a text": png(noise(4, 4, 3), RGB, 8, chunk(b"tEXt", b"Raw profile type exif\0x")),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_plain_goes_the_long_way(name: str) -> None:
    assert not header(ODD[name]).plain


QUIET = {
    "PNG": saved(Image.fromarray(noise(9, 9, 3))),
    "JPEG": saved(Image.fromarray(noise(9, 9, 3)), "jpeg"),
    "progressive JPEG": saved(Image.fromarray(noise(9, 9, 3)), "jpeg", progressive=True),
    "WebP": saved(Image.fromarray(noise(9, 9, 3)), "webp"),
    "lossless WebP": saved(Image.fromarray(noise(9, 9, 3)), "webp", lossless=True),
    "grey of 4 bits": png(noise(9, 9, 1)[:, :, None] % 16, GREY, 4),
    "alpha": ODD["alpha"],
}
LOUD = {
    "EXIF in a JPEG": saved(Image.fromarray(noise(9, 9, 3)), "jpeg", exif=exif(6)),
    "EXIF in a WebP": saved(Image.fromarray(noise(9, 9, 3)), "webp", exif=exif(6)),
    "EXIF in a PNG": ODD["EXIF"],
    "several pictures": saved(Image.fromarray(noise(9, 9, 3)), "mpo", save_all=True,
                              append_images=[Image.fromarray(noise(9, 9, 3))]),
    "damaged": QUIET["JPEG"][:60],
    "text": b"hello",
}  # fmt: skip


@pytest.mark.parametrize("name", QUIET)
def test_pictures_of_which_pillow_warns_nobody_leave_the_filters_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "catch_warnings", None)
    alone = decode("x", QUIET[name]).pixels
    beside = decode_beside(QUIET[name])
    assert beside is not None and np.array_equal(beside, alone)


@pytest.mark.parametrize("name", LOUD)
def test_other_pictures_are_left_to_the_main_thread(name: str) -> None:
    assert decode_beside(LOUD[name]) is None


def test_threads_decode_the_same_bits() -> None:
    files = [saved(Image.fromarray(noise(16, 16, 3, seed)), ("png", "webp", "jpeg")[seed % 3]) for seed in range(60)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(decode_beside, files * 5))
    for data, pixels in zip(files * 5, found, strict=True):
        assert np.array_equal(pixels, decode("x", data).pixels)
