"""Zip files of strangers: judged by their central directory, read entry by entry, never extracted."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from distillkit.api import InputError

ENTRIES = 4_000_000
ENTRY_BYTES = 128 << 20  # unpacked; an image of 4096 x 4096 in three channels takes 48 MiB
TOTAL_BYTES = 1 << 40  # unpacked
DIRECTORY_BYTES = 256 << 20  # of the list of entries, which zipfile reads as a whole
SMALL_DIRECTORY = 1 << 20  # bytes; a larger one takes no more of the file than the entries that it lists
RATIO = 100  # unpacked to packed; images hardly deflate
LOCAL_HEADER = 30  # bytes before an entry's name
BROKEN = (BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, struct.error, zlib.error)


class _Judged(io.BufferedReader):
    """A file that gives zipfile nothing larger than a sane directory until `judged` is set.

    zipfile asks for the directory at once, by the size that the file's end names, before it looks at any entry.
    """

    judged = False

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.most = min(DIRECTORY_BYTES, max(SMALL_DIRECTORY, path.stat().st_size // 2))

    def read(self, size: int | None = -1) -> bytes:
        if not self.judged and size is not None and size > self.most:
            raise InputError(f"a directory of {size} bytes, at most {self.most} in a file of this size")
        return super().read(size)


class Archive(ZipFile):
    """A zip that closes the file that it was given."""

    def close(self) -> None:
        file = self.fp
        super().close()
        if file is not None:
            file.close()


def open_zip(path: Path, *, largest: int = ENTRY_BYTES, small: int = 0) -> ZipFile:
    """Open a zip whose directory is harmless; entries of up to `small` bytes may deflate by any ratio.

    Raises InputError, before anything is unpacked.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    file = None
    try:
        file = _Judged(path)
        archive = Archive(file)
        file.judged = True
        check(archive, largest, small)
    except (*BROKEN, InputError) as error:
        if file is not None:
            file.close()
        reason = str(error) if isinstance(error, InputError) else f"no readable zip file ({one_line(error)})"
        raise InputError(f"{path}: {reason}") from error
    return archive


def read(archive: ZipFile, name: str) -> bytes:
    """The bytes of an entry, checked against its CRC. Raises InputError."""
    try:
        return archive.read(name)
    except BROKEN as error:
        raise InputError(f"{archive.filename}: {name}: cannot be unpacked ({one_line(error)})") from error


def one_line(error: object) -> str:
    """What an exception says, short and on one line of ASCII."""
    return ascii(" ".join(str(error).split())[:160])[1:-1]


def check(archive: ZipFile, largest: int, small: int) -> None:
    """Judge all entries by the central directory alone. Raises InputError."""
    infos = archive.infolist()
    if len(infos) > ENTRIES:
        raise InputError(f"{len(infos)} entries, at most {ENTRIES}")
    names: set[str] = set()
    for info in infos:
        fault = name_fault(info) or kind_fault(info) or size_fault(info, largest, small)
        if not fault and info.filename in names:
            fault = "occurs twice"
        if fault:
            raise InputError(f"entry {info.orig_filename[:80]!a} {fault}")
        names.add(info.filename)
    total = sum(info.file_size for info in infos)
    if total > TOTAL_BYTES:
        raise InputError(f"unpacks to {total} bytes, at most {TOTAL_BYTES}")
    check_overlap(infos, archive.start_dir)


def name_fault(info: ZipInfo) -> str:
    """What is wrong with a name; "" when it is a plain relative path."""
    name = info.orig_filename  # as in the file: zipfile cuts its own copy at a NUL
    if not name or len(name) > 512 or not name.isprintable():
        return "has a name that is empty, too long or holds control characters"
    if "\\" in name or name.startswith("/") or name[1:2] == ":":
        return "has a name that is absolute, names a drive or holds a backslash"
    if {"", ".", ".."} & set(name.removesuffix("/").split("/")):
        return "has a name with an empty part, '.' or '..'"
    return ""


def kind_fault(info: ZipInfo) -> str:
    """What is wrong with what an entry is: only plain files and folders, stored or deflated."""
    if info.flag_bits & 0x2041:  # encrypted, strongly encrypted, hidden headers
        return "is encrypted"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"is packed by method {info.compress_type}; only stored and deflated entries are read"
    return ""


def size_fault(info: ZipInfo, largest: int, small: int) -> str:
    """What is wrong with the sizes that the directory gives for an entry."""
    if info.file_size > largest:
        return f"unpacks to {info.file_size} bytes, at most {largest}"
    if info.compress_type == ZIP_STORED and info.file_size != info.compress_size:
        return f"is stored but gives two sizes, {info.compress_size} and {info.file_size}"
    if info.file_size > max(small, RATIO * info.compress_size):
        return f"unpacks from {info.compress_size} to {info.file_size} bytes, more than {RATIO} times"
    return ""


def check_overlap(infos: list[ZipInfo], directory: int) -> None:
    """Entries must not share bytes, with each other or with the directory at that offset. Raises InputError."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    starts = [*(info.header_offset for info in ordered[1:]), directory]
    for info, limit in zip(ordered, starts, strict=False):
        end = info.header_offset + LOCAL_HEADER + len(info.orig_filename) + info.compress_size
        if info.header_offset < 0 or end > limit:
            raise InputError(f"entry {info.orig_filename[:80]!a} overlaps what follows it")
