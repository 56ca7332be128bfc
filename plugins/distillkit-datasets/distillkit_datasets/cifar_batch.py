"""A batch of CIFAR-10's Python version: its pickle is read as a list of opcodes, and none of them is obeyed."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np

from distillkit.api import InputError

PIXELS = 3 * 32 * 32  # of one image
CALLED = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
TEXT = {"SHORT_BINSTRING", "BINSTRING", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"}
WHOLE = {"BININT", "BININT1", "BININT2"}
STRUCTURE = {
    "PROTO", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "MARK", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "REDUCE",
    "BUILD", "NONE", "NEWFALSE", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET",
    "LONG_BINGET", "GLOBAL", "STOP",
}  # fmt: skip
KEYS = {"batch_label", "labels", "data", "filenames"}


def read_batch(pickled: bytes) -> tuple[np.ndarray, list[int]]:
    """Pixels uint8 [n,3072] and classes of {"data": array, "labels": list, ...} in protocol 2. Raises InputError.

    What follows the key "labels" is whole numbers, and the one long string after "data" is the array's bytes.
    """
    labels: list[int] = []
    data, key, dtype = b"", "", ""
    for name, value in _opcodes(pickled):
        if name in TEXT and value in KEYS:
            key = value
        elif name in WHOLE and key == "labels":
            labels.append(value)
        elif name in TEXT and key == "data":
            if len(value) >= PIXELS and not data:
                data = value.encode("latin-1")
            else:
                dtype = dtype or (value if value[:1] in "|uif<>" else "")
    if dtype not in ("u1", "|u1") or not data or len(data) != PIXELS * len(labels):
        raise InputError(
            f"{len(data)} bytes of {dtype or 'no'} pixels, must be {PIXELS} of u1 for each of {len(labels)} labels"
        )
    if not all(0 <= label <= 9 for label in labels):
        raise InputError("labels must be 0 to 9")
    return np.frombuffer(data, np.uint8).reshape(-1, PIXELS), labels


def _opcodes(pickled: bytes) -> Iterator[tuple[str, Any]]:
    """Opcode names and their arguments, strings as text. Raises InputError at what a batch has no use for."""
    try:
        for opcode, value, at in pickletools.genops(pickled):
            called = opcode.name == "GLOBAL" and value not in CALLED
            if called or opcode.name not in TEXT | WHOLE | STRUCTURE:
                raise InputError(f"no CIFAR-10 batch: {opcode.name} {ascii(value)[:80]} at byte {at}")
            yield opcode.name, value.decode("latin-1") if isinstance(value, bytes) else value
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"no CIFAR-10 batch: {ascii(str(error))[1:81]}") from error
