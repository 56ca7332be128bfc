"""The pixels of the commonest image there is, a PNG of 8-bit grey or RGB, by Pillow's decoder without its reader."""

from __future__ import annotations

import zlib

import numpy as np
from PIL import Image

from distillkit_datasets.headers import Header, chunks


def plain_png(data: bytes, head: Header) -> np.ndarray | None:
    """Pixels uint8 [H,W,C]; None: whatever is odd about it, Pillow's reader shall judge."""
    found = list(chunks(data))
    parts = [data[at : at + length] for name, at, length in found if name == b"IDAT"]
    pixels = [i for i, (name, _, _) in enumerate(found) if name == b"IDAT"]
    if not pixels or pixels[-1] - pixels[0] >= len(pixels) or found[-1][0] != b"IEND":
        return None
    if any(zlib.crc32(data[at - 4 : at + n]) != int.from_bytes(data[at + n : at + n + 4], "big") for _, at, n in found):
        return None
    mode = "L" if head.grey else "RGB"
    try:
        image = Image.frombytes(mode, (head.width, head.height), b"".join(parts), "zip", mode, 0)
    except Exception:  # damaged: Pillow's reader has the words for it
        return None
    u = np.array(image)
    return u if u.ndim == 3 else u[:, :, None]
