"""Zip files of strangers: judged by their central directory, read entry by entry, never extracted."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np

from distillkit.api import InputError
from distillkit_datasets.told import near
from distillkit_datasets.zip_directory import UTF8, Directory, directory

ENTRIES = 4_000_000
ENTRY_BYTES = 128 << 20  # unpacked; an image of 4096 x 4096 in three channels takes 48 MiB
TOTAL_BYTES = 1 << 40  # unpacked
RATIO = 100  # unpacked to packed; images hardly deflate
LONGEST = 512  # characters of a name
LOCAL = struct.Struct("<4s5H3I2H")  # what stands before an entry's name
EXTRA = 64  # bytes of an entry's own extra field that are read along with it
BROKEN = (BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, struct.error, zlib.error)
ENCRYPTED = 0x2041  # flags: encrypted, strongly encrypted, hidden headers


class Archive:
    """A zip whose directory is harmless; threads, and processes that were forked, may read it at once."""

    def __init__(self, path: Path, listed: Directory) -> None:
        self.filename, self.directory = path, listed
        self._rows = {name: i for i, name in enumerate(listed.names)}
        self._file, self._lock = path.open("rb"), Lock()

    def __len__(self) -> int:
        return len(self.directory.names)

    def files(self) -> list[str]:
        """Names of all that are no folders."""
        return [name for name in self.directory.names if not name.endswith("/")]

    def read(self, name: str) -> bytes:
        """The bytes of an entry, checked against its CRC. Raises InputError."""
        try:
            return self._unpacked(self._rows[name], name)
        except (*BROKEN, KeyError) as error:
            raise InputError(f"{self.filename}: {name}: cannot be unpacked ({one_line(error)})") from error

    def _unpacked(self, i: int, name: str) -> bytes:
        listed = self.directory
        packed, size, record = int(listed.packed[i]), int(listed.size[i]), listed.records[i]
        start = LOCAL.size + int(record["name"])
        raw = self._at(int(listed.offset[i]), start + EXTRA + packed)
        magic, _, flags, *_, name_length, extra = LOCAL.unpack_from(raw)
        if magic != b"PK\3\4" or flags & 0x20:
            raise BadZipFile("no header of an entry")
        told = raw[LOCAL.size : LOCAL.size + name_length]
        if str(told, "utf-8" if flags & UTF8 else "cp437") != name:
            raise BadZipFile(f"the entry calls itself {one_line(told)}")
        start += extra
        if extra > EXTRA:
            raw = self._at(int(listed.offset[i]), start + packed)
        data = raw[start : start + packed]
        if int(record["method"]) == ZIP_DEFLATED:
            data = zlib.decompressobj(-15).decompress(data, size + 1)
        if len(data) != size or zlib.crc32(data) != int(record["crc"]):
            raise BadZipFile("Bad CRC-32" if len(data) == size else f"gives {len(data)} of {size} bytes")
        return data

    def _at(self, offset: int, length: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), length, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(length)


def open_zip(path: Path, *, largest: int = ENTRY_BYTES, small: int = 0) -> Archive:
    """Open a zip whose directory is harmless; entries of up to `small` bytes may deflate by any ratio.

    Raises InputError, before anything is unpacked.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file{near(path)}")
    try:
        listed = directory(path)
        check(listed, largest, small)
        return Archive(path, listed)
    except (*BROKEN, InputError) as error:
        reason = str(error) if isinstance(error, InputError) else f"no readable zip file ({one_line(error)})"
        raise InputError(f"{path}: {reason}") from error


def one_line(error: object) -> str:
    """What an exception says, short and on one line of ASCII."""
    return ascii(" ".join(str(error).split())[:160])[1:-1]


def check(listed: Directory, largest: int, small: int) -> None:
    """Judge all entries by the central directory alone. Raises InputError that names the first that is harmful."""
    if len(listed.names) > ENTRIES:
        raise InputError(f"{len(listed.names)} entries, at most {ENTRIES}")
    faults = [*name_faults(listed.names), *kind_faults(listed), *size_faults(listed, largest, small)]
    if faults:
        i, fault = min(faults, key=lambda found: found[0])  # of one entry, the first fault
        raise InputError(f"entry {listed.names[i][:80]!a} {fault}")
    total = int(listed.size.sum())
    if total > TOTAL_BYTES:
        raise InputError(f"unpacks to {total} bytes, at most {TOTAL_BYTES}")
    check_overlap(listed)


def name_faults(names: list[str]) -> Iterator[tuple[int, str]]:
    """What is wrong with names, and with which; nothing where all are plain relative paths."""
    # All at once first: a million names are looked at one by one only where one of them may be odd.
    text = "\n".join(names)
    paths = "/" + text.replace("/\n", "\n").removesuffix("/").replace("\n", "/\n/") + "/"
    lines = text.count("\n") + 1 == len(names) and text.replace("\n", "").isprintable()
    short = "" not in names and max(map(len, names), default=0) <= LONGEST
    if not (lines and short) or any(odd in paths for odd in ("\\", ":", "//", "/./", "/../")):
        yield from ((i, fault) for i, name in enumerate(names) if (fault := name_fault(name)))
    if len(set(names)) < len(names):
        yield _second(names), "occurs twice"


def name_fault(name: str) -> str:
    """What is wrong with a name; "" when it is a plain relative path."""
    if not name or len(name) > LONGEST or not name.isprintable():
        return "has a name that is empty, too long or holds control characters"
    if "\\" in name or name.startswith("/") or name[1:2] == ":":
        return "has a name that is absolute, names a drive or holds a backslash"
    if {"", ".", ".."} & set(name.removesuffix("/").split("/")):
        return "has a name with an empty part, '.' or '..'"
    return ""


def _second(names: list[str]) -> int:
    """Where a name stands that was there before."""
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            return i
        seen.add(name)
    return len(names)


def kind_faults(listed: Directory) -> Iterator[tuple[int, str]]:
    """What is no plain file or folder, stored or deflated: the first of each kind."""
    method, mode = listed.records["method"], listed.records["external"] >> 16 & 0o170000
    yield from _first(listed.records["flags"] & ENCRYPTED != 0, lambda i: "is encrypted")
    links = ~np.isin(mode, (0, stat.S_IFREG, stat.S_IFDIR))
    yield from _first(links, lambda i: "is a link or a device")
    strange = ~np.isin(method, (ZIP_STORED, ZIP_DEFLATED))
    yield from _first(strange, lambda i: f"is packed by method {method[i]}; only stored and deflated entries are read")


def size_faults(listed: Directory, largest: int, small: int) -> Iterator[tuple[int, str]]:
    """What the directory says of sizes and cannot be, or is too much: the first of each kind."""
    size, packed = listed.size, listed.packed
    yield from _first(size > largest, lambda i: f"unpacks to {size[i]} bytes, at most {largest}")
    two = (listed.records["method"] == ZIP_STORED) & (size != packed)
    yield from _first(two, lambda i: f"is stored but gives two sizes, {packed[i]} and {size[i]}")
    bomb = size > np.maximum(small, RATIO * packed)
    yield from _first(bomb, lambda i: f"unpacks from {packed[i]} to {size[i]} bytes, more than {RATIO} times")


def _first(wrong: np.ndarray, told: Callable[[int], str]) -> Iterator[tuple[int, str]]:
    found = np.flatnonzero(wrong)[:1].tolist()
    yield from ((i, told(i)) for i in found)


def check_overlap(listed: Directory) -> None:
    """Entries must not share bytes, with each other or with the directory. Raises InputError."""
    order = np.argsort(listed.offset, kind="stable")
    begins = listed.offset[order]
    ends = begins + LOCAL.size + listed.records["name"][order] + listed.packed[order]
    wrong = (begins < 0) | (ends > np.append(begins[1:], listed.start))
    if wrong.any():
        raise InputError(f"entry {listed.names[order[wrong.argmax()]][:80]!a} overlaps what follows it")


def as_zipfile(archive: Archive) -> ZipFile:
    """The same zip for zipfile, which reads an entry in pieces. Raises InputError where it finds another directory."""
    opened = ZipFile(archive.filename)
    listed = archive.directory
    ours = zip(listed.names, listed.offset.tolist(), listed.packed.tolist(), listed.size.tolist(), strict=True)
    if [(i.filename, i.header_offset, i.compress_size, i.file_size) for i in opened.infolist()] != list(ours):
        opened.close()
        raise InputError(f"{archive.filename}: no readable zip file (its directory can be read in two ways)")
    return opened
