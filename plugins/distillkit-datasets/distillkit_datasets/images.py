"""One image file, judged by its header, then decoded: the one place that makes uint8 [H,W,C] of what is stored."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from distillkit.api import InputError, frozen
from distillkit_datasets.headers import UNKNOWN, Header, check_size, header
from distillkit_datasets.plain_png import plain_png
from distillkit_datasets.zipsafe import one_line

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".apng"}
OTHER_SUFFIXES = {".avif", ".bmp", ".dds", ".eps", ".gif", ".heic", ".ico", ".jp2", ".pcx", ".pgm", ".ppm", ".psd",
                  ".svg", ".tga", ".tif", ".tiff"}  # fmt: skip
WHITE = 255  # what lies behind transparent pixels
ORIENTATION = 0x0112  # of EXIF
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I")  # of Pillow, for PNG, JPEG and WebP
# Warnings about what changes no pixel.
HARMLESS = (
    "Palette images with Transp|Image appears to be a malformed MPO|(Possibly )?Corrupt EXIF|Metadata Warn|Tag data"
)


@frozen
class Decoded:
    """Pixels uint8 [H,W,C], C = 1 (grey) or 3 (RGB), and whether EXIF says that the camera was turned."""

    pixels: np.ndarray
    turned: bool


def suffix(name: str) -> str:
    """As pathlib has it, which makes an object of each of a million names."""
    name = name[name.rfind("/") + 1 :]
    at = name.rfind(".")
    return name[at:].lower() if 0 < at < len(name) - 1 else ""


def is_image(name: str) -> bool:
    """Whether a file is an image that can be read, by its name."""
    return suffix(name) in SUFFIXES


def is_other_image(name: str) -> bool:
    """Whether a file is an image of a format that is not read, by its name."""
    return suffix(name) in OTHER_SUFFIXES


def has_colour(data: bytes) -> bool:
    """Whether a file holds an RGB image by its header; damaged ones do not count."""
    try:
        head = header(data)
    except InputError:
        return False
    return not head.grey and head is not UNKNOWN


def decode(name: str, data: bytes, *, upright: bool = True) -> Decoded:
    """The image that a file holds; `upright`: as its EXIF orientation says, else as its pixels are stored.

    Raises InputError that begins with `name`; what takes too much is refused before it is decoded.
    """
    try:
        head = header(data)
        with nullcontext() if head.quiet else _warnings_as_errors():
            return _decoded(data, head, upright)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: {one_line(error)}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: no PNG, JPEG or WebP image") from error
    except Exception as error:  # a damaged file makes Pillow raise nearly anything: SyntaxError, struct.error ...
        raise InputError(f"{name}: damaged image ({one_line(error)})") from error


def decode_beside(data: bytes) -> np.ndarray | None:
    """Pixels uint8 [H,W,C] of an image, in any thread; None: `decode` must judge it, in the main thread."""
    try:
        head = header(data)
        return _decoded(data, head, upright=False).pixels if head.quiet else None
    except Exception:  # told when it is its turn
        return None


@contextmanager
def _warnings_as_errors() -> Iterator[None]:
    """What Pillow warns of and what may change pixels is refused; the filters belong to the whole process."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", HARMLESS)
        yield


def _decoded(data: bytes, head: Header, upright: bool) -> Decoded:
    """Raises nearly anything."""
    if head.plain and (pixels := plain_png(data, head)) is not None:
        return Decoded(pixels, False)
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        pixels, turn = loaded(image, head), 1 if head.quiet else _orientation(image)
    return Decoded(np.ascontiguousarray(TURNS[turn](pixels) if upright else pixels), turn != 1)


def loaded(image: Image.Image, head: Header) -> np.ndarray:
    """Pixels uint8 [H,W,C] of an opened image; 16 bits become their high byte, which is what Pillow makes of colours.

    Raises InputError for what no rule is for.
    """
    check_size(*image.size)
    frames = getattr(image, "n_frames", 1)
    if frames != 1 and image.format != "MPO":  # of MPO, a JPEG with more behind it, the first
        raise InputError(f"{frames} frames; one image per file")
    if image.mode not in MODES:
        raise InputError(f"mode {image.mode} is not read")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    u = np.array(image.convert("L") if image.mode == "1" else image)
    u = u if u.ndim == 3 else u[:, :, None]
    opaque = _opaque(u, head)
    if image.mode in ("LA", "RGBA"):
        return _on_white(u[:, :, : 1 if head.grey else -1], u[:, :, -1:])
    if u.dtype != np.uint8:
        u = (u >> 8).astype(np.uint8)
    return np.where(opaque, u, np.uint8(WHITE)) if opaque is not None else u


def _opaque(u: np.ndarray, head: Header) -> np.ndarray | None:
    """Which pixels [H,W,1] are not of the one transparent colour that a PNG may name; None: it names none."""
    if head.clear is None:
        return None
    if head.depth == 16 and not head.grey:
        raise InputError("a transparent colour among colours of 16 bits is not read")  # Pillow gives their high bytes
    most = 1 if head.depth >= 8 else 255 // (2**head.depth - 1)  # Pillow spreads fewer bits over 0 to 255
    differs: np.ndarray = (u != np.array(head.clear) * most).any(2, keepdims=True)
    return differs


def _on_white(u: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """u alpha + white (1 - alpha), rounded, in whole numbers: the same bits with every library."""
    a = alpha.astype(np.uint16)
    return ((u * a + WHITE * (255 - a) + 127) // 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """EXIF's number of a loaded image, 1 to 8; 1, upright, where EXIF cannot be read, as viewers take it."""
    try:
        number = image.getexif().get(ORIENTATION, 1)
    except Exception:  # anything again; the pixels are in order
        return 1
    return number if type(number) is int and number in TURNS else 1


TURNS = {
    1: lambda u: u,
    2: lambda u: u[:, ::-1],
    3: lambda u: u[::-1, ::-1],
    4: lambda u: u[::-1],
    5: lambda u: u.transpose(1, 0, 2),
    6: lambda u: np.rot90(u, -1),  # clockwise
    7: lambda u: u[::-1, ::-1].transpose(1, 0, 2),
    8: lambda u: np.rot90(u),
}
