"""Image files of every kind that is read, written by hand where Pillow cannot."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types of PNG


def saved(image: Image.Image, form: str = "png", **options: object) -> bytes:
    file = BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def noise(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """uint8 [H,W] of one channel, else [H,W,C]."""
    u = np.random.RandomState(seed).randint(0, 256, (height, width, channels), np.uint8)
    return u[:, :, 0] if channels == 1 else u


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: np.ndarray, kind: int, depth: int, *chunks: bytes) -> bytes:
    """Samples [H,W,C] of so many bits as a PNG of a colour type, with chunks before its pixels."""
    height, width, _ = samples.shape
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    elif depth == 8:
        rows = [row.astype(np.uint8).tobytes() for row in samples]
    else:
        bits = [[f"{sample:0{depth}b}" for sample in row.ravel()] for row in samples]
        rows = [np.packbits([int(bit) for bit in "".join(row)]).tobytes() for row in bits]
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()
