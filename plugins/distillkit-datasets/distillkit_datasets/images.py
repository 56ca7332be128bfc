"""One image file: judged by its header, then decoded; PNG, JPEG and WebP only."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from distillkit.api import InputError
from distillkit_datasets.zipsafe import one_line

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".apng"}
OTHER_SUFFIXES = {".avif", ".bmp", ".dds", ".eps", ".gif", ".heic", ".ico", ".jp2", ".pcx", ".pgm", ".ppm", ".psd",
                  ".svg", ".tga", ".tif", ".tiff"}  # fmt: skip
PIXELS = 4096 * 4096


def is_image(name: str) -> bool:
    """Whether a file is an image by its name. Raises InputError for an image of a format that is not read."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in OTHER_SUFFIXES:
        raise InputError(f"{name}: images are PNG, JPEG or WebP, not {suffix}")
    return suffix in SUFFIXES


def decode(name: str, data: bytes, *, convert: bool = False) -> np.ndarray:
    """Pixels uint8 [H,W,C] of an RGB (C=3) or grey (C=1) image; `convert`: make other modes RGB.

    Raises InputError that begins with `name`; too many pixels are refused before they are decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("error", UserWarning)
            warnings.filterwarnings("ignore", "Palette images with Transparency")
            check_size(*webp_size(data))  # Pillow makes room for all pixels when it opens one
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                pixels = loaded(image, convert)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: {one_line(error)}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: no PNG, JPEG or WebP image") from error
    except Exception as error:  # a damaged file makes Pillow raise nearly anything: SyntaxError, struct.error ...
        raise InputError(f"{name}: damaged image ({one_line(error)})") from error
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def loaded(image: Image.Image, convert: bool) -> np.ndarray:
    """Pixels [H,W,3] or [H,W] of an opened image whose header is in order."""
    check_size(*image.size)
    if getattr(image, "n_frames", 1) != 1:
        raise InputError(f"{image.n_frames} frames; one image per file")
    if image.mode not in ("RGB", "L"):
        if not convert:
            raise InputError(f"mode {image.mode}, must be 8-bit RGB or L (grey); `distillkit data pack` makes it RGB")
        return np.array(image.convert("RGB"))
    return np.array(image)


def check_size(width: int, height: int) -> None:
    """Raises InputError for an image that is too large or has no pixels."""
    if width * height > PIXELS or width < 1 or height < 1:
        raise InputError(f"{width}x{height} pixels, at most {PIXELS} in all")


def webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in a WebP file's header; (1, 1) of anything else. Source: RFC 9649, section 2."""
    kind = data[12:16] if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else b""
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    return 1, 1
