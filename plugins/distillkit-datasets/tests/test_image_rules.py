"""The rules by which a stored picture becomes uint8 [H,W,C]; each row of the README's table, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from distillkit_datasets.images import decode
from image_files import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, chunk, exif, noise, png, saved
from PIL import Image, ImageOps

from distillkit.api import InputError

WORDS = np.array([[[0], [255], [256], [32768], [65279], [65535]]], np.uint16)  # samples of 16 bits [1,6,1]
BYTES = np.array([[[0], [0], [1], [128], [254], [255]]], np.uint8)


def pixels(data: bytes, *, upright: bool = True) -> np.ndarray:
    found = decode("x", data, upright=upright).pixels
    assert found.dtype == np.uint8 and found.ndim == 3 and found.flags.c_contiguous and found.flags.writeable
    return found


def test_8_bit_grey_and_rgb_are_taken_as_they_are() -> None:
    grey, colour = noise(5, 7, 1), noise(5, 7, 3)
    assert np.array_equal(pixels(saved(Image.fromarray(grey))), grey[:, :, None])
    assert np.array_equal(pixels(saved(Image.fromarray(colour))), colour)
    assert np.array_equal(pixels(saved(Image.fromarray(colour), "webp", lossless=True)), colour)


@pytest.mark.parametrize(("kind", "channels"), [(GREY, 1), (RGB, 3), (GREY_ALPHA, 1), (RGBA, 3)])
def test_16_bits_become_their_high_byte(kind: int, channels: int) -> None:
    samples = WORDS.repeat(channels, axis=2)
    if kind in (GREY_ALPHA, RGBA):
        samples = np.concatenate([samples, np.full_like(WORDS, 65535)], axis=2)
    assert np.array_equal(pixels(png(samples, kind, 16)), BYTES.repeat(channels, axis=2))


def test_a_16_bit_ramp_has_the_mean_of_its_levels_and_its_middle_is_grey() -> None:
    ramp = np.linspace(0, 65535, 32 * 32).round().reshape(32, 32).astype(np.uint16)
    assert abs(pixels(saved(Image.fromarray(ramp))).mean() - 127.5) < 1
    assert np.unique(pixels(saved(Image.fromarray(np.full((32, 32), 32768, np.uint16))))).tolist() == [128]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_fewer_bits_are_spread_over_0_to_255(depth: int) -> None:
    samples = np.arange(2**depth, dtype=np.uint8)[None, :, None]
    spread = samples * (255 // (2**depth - 1))
    assert np.array_equal(pixels(png(samples, GREY, depth)), spread)
    white = pixels(png(samples, GREY, depth, chunk(b"tRNS", bytes(2))))  # 0 is transparent
    assert white[0, 0] == 255 and np.array_equal(white[:, 1:], spread[:, 1:])


ALPHA = np.array([0, 1, 127, 128, 254, 255], np.uint8)


def on_white(u: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.floor((u * (alpha / 255.0) + 255 * (1 - alpha / 255.0)) + 0.5).astype(np.uint8)


@pytest.mark.parametrize("form", ["png", "webp"])
def test_alpha_lies_on_white(form: str) -> None:
    u = np.concatenate([noise(4, 6, 3), np.broadcast_to(ALPHA[:, None], (4, 6, 1))], axis=2)
    options = {"lossless": True, "exact": True} if form == "webp" else {}
    assert np.array_equal(pixels(saved(Image.fromarray(u), form, **options)), on_white(u[:, :, :3], u[:, :, 3:]))
    grey = u[:, :, [0, 3]]
    assert np.array_equal(pixels(saved(Image.fromarray(grey, "LA"))), on_white(grey[:, :, :1], grey[:, :, 1:]))


def test_opaque_images_with_alpha_keep_their_bits() -> None:
    u = np.concatenate([noise(16, 16, 3), np.full((16, 16, 1), 255, np.uint8)], axis=2)
    assert np.array_equal(pixels(saved(Image.fromarray(u))), u[:, :, :3])


def test_one_transparent_colour_is_white() -> None:
    u = np.array([[[1, 2, 3], [1, 2, 4], [0, 0, 0]]], np.uint8)
    key = chunk(b"tRNS", bytes([0, 1, 0, 2, 0, 3]))
    assert pixels(png(u, RGB, 8, key))[0].tolist() == [[255, 255, 255], [1, 2, 4], [0, 0, 0]]
    assert pixels(png(u[:, :, :1], GREY, 8, chunk(b"tRNS", bytes([0, 1]))))[0, :, 0].tolist() == [255, 255, 0]
    words = np.array([[[0x0102], [0x0103]]], np.uint16)  # of one high byte: compared before it is taken
    assert pixels(png(words, GREY, 16, chunk(b"tRNS", bytes([1, 2]))))[0, :, 0].tolist() == [255, 1]


@pytest.mark.parametrize("transparent", [b"\0", bytes([0, 255, 128])])
def test_a_palette_becomes_rgb_and_its_transparent_entries_white(transparent: bytes) -> None:
    colours = chunk(b"PLTE", bytes([9, 9, 9, 10, 20, 30, 0, 100, 255]))
    u = np.array([[[0], [1], [2]]], np.uint8)
    assert pixels(png(u, PALETTE, 8, colours))[0].tolist() == [[9, 9, 9], [10, 20, 30], [0, 100, 255]]
    found = pixels(png(u, PALETTE, 8, colours, chunk(b"tRNS", transparent)))[0].tolist()
    assert found == [[255, 255, 255], [10, 20, 30], [0, 100, 255] if len(transparent) == 1 else [127, 177, 255]]


def test_cmyk_becomes_rgb_as_pillow_makes_it() -> None:
    data = saved(Image.fromarray(noise(16, 16, 4), "CMYK"), "jpeg", quality=95)
    with Image.open(BytesIO(data)) as image:
        assert np.array_equal(pixels(data), np.array(image.convert("RGB")))


def test_of_a_jpeg_with_more_images_behind_it_the_first_is_taken() -> None:
    first, second = (Image.fromarray(noise(8, 8, 3, seed)) for seed in (1, 2))
    data = saved(first, "mpo", save_all=True, append_images=[second])
    assert np.array_equal(pixels(data), pixels(saved(first, "jpeg")))


@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_says_how_the_camera_was_held(orientation: int, form: str) -> None:
    image = Image.fromarray(noise(6, 10, 3))
    data = saved(image, form, exif=exif(orientation), **({"lossless": True} if form == "webp" else {}))
    with Image.open(BytesIO(data)) as again:
        shown = np.array(ImageOps.exif_transpose(again).convert("RGB"))
        stored = np.array(again.convert("RGB"))
    assert np.array_equal(pixels(data), shown)
    assert np.array_equal(pixels(data, upright=False), stored)
    assert decode("x", data).turned == (orientation != 1)


@pytest.mark.parametrize(
    "tags", [exif(0), exif(9), b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0hello", b"II*\0"]
)
def test_an_orientation_that_makes_no_sense_leaves_the_picture_as_it_is(tags: bytes) -> None:
    image = Image.fromarray(noise(6, 10, 3))
    assert np.array_equal(pixels(saved(image, "png", exif=tags)), pixels(saved(image)))
    assert np.array_equal(pixels(saved(image, "jpeg", exif=tags)), pixels(saved(image, "jpeg")))


MANY: dict[str, Callable[[Image.Image], bytes]] = {
    form: lambda image, form=form: saved(image, form, save_all=True, append_images=[image.rotate(90)], duration=9)
    for form in ("png", "webp")
}


@pytest.mark.parametrize("form", MANY)
def test_animations_are_refused(form: str) -> None:
    with pytest.raises(InputError, match="x: 2 frames; one image per file"):
        decode("x", MANY[form](Image.fromarray(noise(8, 8, 3))))
