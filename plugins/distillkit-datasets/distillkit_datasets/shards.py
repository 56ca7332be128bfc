"""Tar files as shards of one set: which they are, and bytes of them, on this disk or, through fsspec, elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from glob import glob
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from distillkit.api import InputError
from distillkit_datasets.zipsafe import one_line

MOST = 100_000  # shards
NUMBERS = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")


class Shard(Protocol):
    """One tar file."""

    name: str  # of the file alone
    where: str
    size: int  # bytes
    chunk: int  # bytes to read at once where headers are looked for
    stamp: str  # another one when its content may be another

    def read(self, offset: int, length: int) -> bytes:
        """At most so many bytes from there on; in any thread. Raises OSError and what fsspec raises."""


class LocalShard:
    """A tar file on this disk; opened at each use, for there may be more of them than open files."""

    chunk = 1 << 16

    def __init__(self, path: Path) -> None:
        self.name, self.where, self._path = path.name, str(path), path
        found = path.stat()
        self.size, self.stamp = found.st_size, f"{found.st_size} {found.st_mtime_ns}"

    def read(self, offset: int, length: int) -> bytes:
        with self._path.open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(length)


class RemoteShard:
    """A tar file behind a URL."""

    chunk = 8 << 20  # each read is a request

    def __init__(self, system: Any, path: str) -> None:
        self._system, self._path = system, path
        self.name, self.where = path.rpartition("/")[2], str(system.unstrip_protocol(path))
        found = system.info(path)
        self.size = int(found["size"])
        seen = [str(found[key]) for key in ("size", "ETag", "etag", "md5", "mtime", "LastModified") if key in found]
        self.stamp = " ".join(seen)

    def read(self, offset: int, length: int) -> bytes:
        data: bytes = self._system.cat_file(self._path, start=offset, end=min(offset + length, self.size))
        return data


def shards(path: str) -> list[Shard]:
    """A tar, the tars of a folder, or those of a pattern such as train-{000..146}.tar or s3://bucket/train-*.tar.

    In the order of their names. Raises InputError.
    """
    try:
        found: list[Shard] = [*(_remote(path) if "://" in path else _local(path))]
    except InputError:
        raise
    except Exception as error:  # file systems of others raise nearly anything
        raise InputError(f"{path}: cannot be listed ({one_line(error)})") from error
    if not found or len(found) > MOST:
        raise InputError(f"{path}: {f'{len(found)} shards, at most {MOST}' if found else 'no tar file is there'}")
    found.sort(key=lambda shard: shard.name)
    for one, other in pairwise(found):
        if one.name == other.name:
            raise InputError(f"{other.where}: there is another shard of that name, {one.where}")
    return found


def expanded(pattern: str) -> list[str]:
    """train-{000..146}.tar -> 147 names. Raises InputError."""
    if (found := NUMBERS.search(pattern)) is None:
        return [pattern]
    low, high = int(found[1]), int(found[2])
    if not 0 <= high - low < MOST:
        raise InputError(f"{pattern}: from {low} to {high}; at most {MOST} shards, counted upwards")
    return [f"{pattern[: found.start()]}{i:0{len(found[1])}d}{pattern[found.end() :]}" for i in range(low, high + 1)]


def _local(path: str) -> Iterator[LocalShard]:
    if Path(path).is_dir():
        yield from map(LocalShard, Path(path).glob("*.tar"))
        return
    for pattern in expanded(path):
        named = [pattern] if Path(pattern).is_file() else glob(pattern)
        if not named:
            raise InputError(f"{pattern}: no such file or folder")
        yield from (LocalShard(Path(name)) for name in named)


def _remote(path: str) -> Iterator[RemoteShard]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise InputError(f"{path}: a URL is read by fsspec: pip install 'distillkit-datasets[remote]'") from error
    for pattern in expanded(path):
        system, place = url_to_fs(pattern)
        place = f"{place.rstrip('/')}/*.tar" if not place.endswith(".tar") and system.isdir(place) else place
        named = system.glob(place) if set("*?[") & set(place) else [place]
        yield from (RemoteShard(system, name) for name in named)
