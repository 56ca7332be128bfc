"""The central directory of a zip, read in one piece: a million entries are arrays, no object each."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from attrs import frozen

from distillkit.api import InputError

DIRECTORY_BYTES = 256 << 20  # it is read as a whole
SMALL_DIRECTORY = 1 << 20  # bytes; a larger one takes no more of the file than the entries that it lists
END, END64, LOCATOR64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
COMMENT = 0xFFFF  # bytes behind the end record, at most
BEYOND = 1 << 48  # bytes, of which arithmetic is safe
WIDE, LATEST = 0xFFFFFFFF, 63  # "see the extra field"; version of the format
UTF8 = 0x800  # flag: of a name
# Appnote 4.3.12; packed, without the name, extra field and comment that follow.
RECORD = np.dtype([
    ("magic", "S4"), ("made", "<u2"), ("version", "<u2"), ("flags", "<u2"), ("method", "<u2"), ("time", "<u4"),
    ("crc", "<u4"), ("packed", "<u4"), ("size", "<u4"), ("name", "<u2"), ("extra", "<u2"), ("comment", "<u2"),
    ("disk", "<u2"), ("internal", "<u2"), ("external", "<u4"), ("offset", "<u4"),
])  # fmt: skip


@frozen
class Directory:
    """What a zip says of its entries, in its order; arrays [N]."""

    names: list[str]
    records: np.ndarray  # of RECORD
    packed: np.ndarray  # int64: bytes in the file
    size: np.ndarray  # int64: bytes unpacked
    offset: np.ndarray  # int64: where in the file each begins
    start: int  # where in the file the directory begins


def directory(path: Path) -> Directory:
    """Raises InputError, ValueError, struct.error and OSError for what is no directory of a sane size."""
    with path.open("rb") as file:
        data, start, shift = _found(file)
    records, starts = _records(data)
    names = _names(data, records, starts)
    packed, size, offset = (records[key].astype(np.int64) for key in ("packed", "size", "offset"))
    for i in np.flatnonzero((packed == WIDE) | (size == WIDE) | (offset == WIDE)).tolist():
        at = starts[i] + RECORD.itemsize + int(records["name"][i])
        _widen(data[at : at + int(records["extra"][i])], i, (size, packed, offset))
    return Directory(names, records, packed, size, offset + shift, start)


def _found(file: BinaryIO) -> tuple[bytes, int, int]:
    """The directory's bytes, where they begin, and how far all places are misstated: by what lies before the zip."""
    whole = os.fstat(file.fileno()).st_size
    file.seek(-min(END.size + COMMENT, whole), os.SEEK_END)
    tail = file.read()
    plain = tail[-END.size :].startswith(b"PK\5\6") and tail.endswith(b"\0\0")
    at = len(tail) - END.size if plain else tail.rfind(b"PK\5\6")
    if at < 0:
        raise ValueError("File is not a zip file")
    *_, length, begins, _ = END.unpack_from(tail, at)
    end = whole - len(tail) + at
    if end >= LOCATOR64.size + END64.size:
        file.seek(end - LOCATOR64.size - END64.size)
        wide = file.read(END64.size + LOCATOR64.size)
        if wide.startswith(b"PK\6\6") and wide[END64.size :].startswith(b"PK\6\7"):
            *_, length, begins = END64.unpack_from(wide)
            end -= LOCATOR64.size + END64.size
    most = min(DIRECTORY_BYTES, max(SMALL_DIRECTORY, whole // 2))
    if length > most:
        raise InputError(f"a directory of {length} bytes, at most {most} in a file of this size")
    if length > end:
        raise ValueError("Bad magic number for central directory")
    file.seek(end - length)
    return file.read(length), end - length, end - length - begins


def _records(data: bytes) -> tuple[np.ndarray, list[int]]:
    """The records [N] and where each begins. Raises ValueError, struct.error."""
    starts, at, lengths = [], 0, struct.Struct("<3H").unpack_from
    while at < len(data):
        starts.append(at)
        name, extra, comment = lengths(data, at + 28)
        at += RECORD.itemsize + name + extra + comment
    if at != len(data):
        raise ValueError("Truncated central directory")
    if not starts:
        return np.empty(0, RECORD), []
    # One record at each byte, of which those are taken that begin there: nothing is copied but them.
    everywhere = np.ndarray(len(data) - RECORD.itemsize + 1, RECORD, data, strides=(1,))
    records = everywhere[starts]
    if (records["magic"] != b"PK\1\2").any():
        raise ValueError("Bad magic number for central directory")
    if (records["version"] > LATEST).any():
        raise ValueError(f"zip file version {int(records['version'].max()) / 10}")
    return records, starts


def _names(data: bytes, records: np.ndarray, starts: list[int]) -> list[str]:
    begins = [at + RECORD.itemsize for at in starts]
    ends = [a + n for a, n in zip(begins, records["name"].tolist(), strict=True)]
    names = [data[a:b] for a, b in zip(begins, ends, strict=True)]
    codes = ["utf-8" if flags & UTF8 else "cp437" for flags in records["flags"].tolist()]
    return [str(n, "ascii" if n.isascii() else code) for n, code in zip(names, codes, strict=True)]


def _widen(extra: bytes, i: int, fields: tuple[np.ndarray, ...]) -> None:
    """Fill in what entry i has no room for from its extra field of zip64. Raises ValueError, struct.error."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wanted = [field for field in fields if field[i] == WIDE]
            for field, value in zip(wanted, struct.unpack_from(f"<{len(wanted)}Q", extra, at + 4), strict=True):
                if value >= BEYOND:
                    raise ValueError("a size beyond all files")
                field[i] = value
            return
        at += 4 + length
