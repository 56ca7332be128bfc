"""One array file of float32 numbers: judged by its header, then read; nothing is unpickled."""

from __future__ import annotations

import math
from io import BytesIO
from typing import IO

import numpy as np
from numpy.lib import format as npy

from distillkit.api import InputError
from distillkit_datasets.zipsafe import one_line

LARGEST = 16 << 20  # bytes of a file; moments of 4x64x64 latents take 128 KiB


def header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in the order of Fortran, and kind of the numbers that follow. Raises nearly anything."""
    version = npy.read_magic(file)
    return (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)


def decode_npy(name: str, data: bytes) -> np.ndarray:
    """Finite numbers float32 [C,H,W]. Raises InputError that begins with `name`."""
    try:
        file = BytesIO(data)
        shape, fortran, dtype = header(file)
    except Exception as error:  # a damaged header makes numpy raise nearly anything: SyntaxError, TokenError ...
        raise InputError(f"{name}: no readable .npy file ({one_line(error)})") from error
    if dtype != np.dtype("<f4") or dtype.hasobject or len(shape) != 3 or fortran or min(shape) < 1:
        raise InputError(f"{name}: {one_line(dtype)} {list(shape)}, must be float32 [C,H,W] in the order of C")
    numbers = data[file.tell() :]
    if len(data) > LARGEST or len(numbers) != 4 * math.prod(shape):
        raise InputError(f"{name}: {len(numbers)} bytes after a header that tells of {4 * math.prod(shape)}")
    array = np.frombuffer(numbers, "<f4").reshape(shape).copy()  # torch wants it writable
    if not np.isfinite(array).all():
        raise InputError(f"{name}: holds numbers that are not finite")
    return array
