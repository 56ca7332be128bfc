"""What a file or folder holds, as one short digest that is cheap to take: data of gigabytes are not read for it."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from attrs import frozen

from distillkit.disk import manifest

WEIGHTS = "student.safetensors"  # of a result folder
READ = 64  # files of a folder of images whose bytes count; of all others names and sizes do
PIECES, PIECE = 64, 1 << 16  # of a tar, whose bytes are looked at: how many, and bytes of each
END, ZIP64, ENTRY = b"PK\x05\x06", b"PK\x06\x06", b"PK\x01\x02"  # of a zip's directory
LARGEST_DIRECTORY = 512 << 20  # bytes
OTHERS = ("__MACOSX", "@eaDir")  # beside what begins with a dot, put there by no one who made the data


@frozen
class Content:
    """A digest, and a stamp of the file: where that is as it was, the content need not be looked at."""

    digest: str
    stamp: str  # "": of a folder, which has none

    def noted(self) -> dict[str, str]:
        return {"digest": self.digest, "stamp": self.stamp}


def of(path: Path) -> Content | None:
    """The content of a file, zip, result folder or folder of images; None where nothing can be read there."""
    try:
        return _of_folder(path) if path.is_dir() else Content(_of_file(path), stamp(path))
    except OSError:
        return None


def differs(path: Path, noted: dict[str, Any]) -> bool:
    """Whether something else is there than what was noted; what is not there at all does not differ."""
    try:
        if noted.get("stamp") and stamp(path) == noted["stamp"]:
            return False
    except OSError:
        return False
    found = of(path)
    return found is not None and found.digest != noted.get("digest")


def stamp(path: Path) -> str:
    """Changes whenever a file is written or replaced, and on copying it. Raises OSError."""
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


def _of_file(path: Path) -> str:
    if path.suffix.lower() in (".zip", ".npz"):
        with path.open("rb") as file:
            listed = _zip_directory(file)
            if listed is not None:
                return listed
    if known := manifest.listed(path):
        return known
    return _bytes_of(path).hex()


def _bytes_of(path: Path) -> bytes:
    """Digest of all bytes of a file; of a tar, which is a shard of a data set, of its size and some of them."""
    with path.open("rb") as file:
        if path.suffix.lower() != ".tar":
            return hashlib.file_digest(file, "sha256").digest()
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(str(size).encode())
        for at in range(0, size, max(size // PIECES, PIECE)):
            file.seek(at)
            digest.update(file.read(PIECE))
        return digest.digest()


def _of_folder(path: Path) -> Content:
    for weights in (path / WEIGHTS, path / "result" / WEIGHTS):
        if weights.is_file():  # by these alone: the card beside them has dates too
            return Content(_of_file(weights), "")
    listing = sorted(_walk(path))
    digest = hashlib.sha256(json.dumps(listing).encode())
    step = -(-len(listing) // READ)
    for name, _ in [*listing[:: step or 1], *((n, 0) for n, _ in listing if n == "dataset.json")]:
        digest.update(_bytes_of(path / name))
    return Content(digest.hexdigest(), "")


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and size of all files below that are not hidden."""
    places = [os.fspath(folder)]  # by hand: before Python 3.12 os.walk calls itself for each level
    while places:
        with os.scandir(places.pop()) as entries:
            for entry in entries:
                if _hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    places.append(entry.path)
                elif not entry.is_dir():
                    yield os.path.relpath(entry.path, folder), entry.stat().st_size


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in OTHERS


def _zip_directory(file: BinaryIO) -> str | None:
    """Digest of the names, sizes and CRCs of a zip's entries; None where its directory cannot be read.

    Read by hand, in one piece of bounded size: zipfile would make an object of each of a million entries.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        file.seek(max(size - 66_000, 0))  # the end record is followed by a comment of 65,535 bytes at most
        tail = file.read()
        at = tail.rindex(END)
        length, start = struct.unpack_from("<II", tail, at + 12)
        if 0xFFFFFFFF in (length, start):
            at = tail.rindex(ZIP64)
            length, start = struct.unpack_from("<QQ", tail, at + 40)
        if length > LARGEST_DIRECTORY:
            return None
        file.seek(start)
        return _of_entries(file.read(length))
    except (ValueError, struct.error, OverflowError):
        return None


def _of_entries(directory: bytes) -> str:
    """Raises ValueError, struct.error for what is no directory."""
    digest, at = hashlib.sha256(), 0
    while at < len(directory):
        if directory[at : at + 4] != ENTRY:
            raise ValueError("no entry of a zip")
        crc, _, unpacked, name, extra, comment = struct.unpack_from("<IIIHHH", directory, at + 16)
        digest.update(struct.pack("<IIH", crc, unpacked, name))
        digest.update(directory[at + 46 : at + 46 + name])
        at += 46 + name + extra + comment
    return digest.hexdigest()
