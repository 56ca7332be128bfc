"""Our reader of a zip's directory finds what zipfile finds, also where entries are many, wide or misplaced."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest
from distillkit_datasets.npz_set import Npz
from distillkit_datasets.zip_directory import directory
from distillkit_datasets.zipsafe import open_zip

from distillkit.api import InputError


def written(path: Path, n: int = 5, **options: object) -> Path:
    with ZipFile(path, "w") as archive:
        for i in range(n):
            archive.writestr(f"{i // 10:03d}/{i:05d}.png", bytes([i % 251]) * (i % 97), **options)
    return path


def wide(path: Path) -> Path:
    """As in a zip beyond 4 GiB: sizes and places stand in extra fields, behind another one."""
    data = written(path).read_bytes()
    at = data.index(b"PK\1\2")
    new, place = b"", at
    for _ in range(5):
        head, n = bytearray(data[place : place + 46]), struct.unpack_from("<H", data, place + 28)[0]
        packed, size, offset = (struct.unpack_from("<I", head, where)[0] for where in (20, 24, 42))
        extra = struct.pack("<2H4s2H3Q", 7, 4, b"else", 1, 24, size, packed, offset)
        for where in (20, 24, 42):
            struct.pack_into("<I", head, where, 0xFFFFFFFF)
        struct.pack_into("<H", head, 30, len(extra))
        new += bytes(head) + data[place + 46 : place + 46 + n] + extra
        place += 46 + n
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 5, 5, len(new), at)
    end += struct.pack("<4sIQI", b"PK\6\7", 0, at + len(new), 1)
    path.write_bytes(data[:at] + new + end + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 5, 5, *[0xFFFFFFFF] * 2, 0))
    return path


def prefixed(path: Path) -> Path:
    path.write_bytes(b"#!/bin/sh\n" * 9 + written(path).read_bytes())
    return path


def commented(path: Path) -> Path:
    with ZipFile(written(path), "a") as archive:
        archive.comment = b"PK\1\2 is no entry\0\0"
    return path


def with_extra(path: Path) -> Path:
    with ZipFile(path, "w") as archive:
        for i in range(3):
            info = ZipInfo(f"{i}.png")
            info.extra = struct.pack("<2H200s", 9, 200, b"long")
            archive.writestr(info, b"content %d" % i)
    return path


def of_other_alphabets(path: Path) -> Path:
    with ZipFile(path, "w") as archive:
        for name in ("Katzen/M\u00fcsli.png", "\u732b.png", "folder/"):
            archive.writestr(name, name.encode() if not name.endswith("/") else b"")
    return path


MAKERS: dict[str, Callable[[Path], Path]] = {
    "5,000 entries": lambda path: written(path, 5000),
    "deflated": lambda path: written(path, 50, compress_type=ZIP_DEFLATED),
    "beyond 4 GiB": wide,
    "behind a script": prefixed,
    "with a comment": commented,
    "with long extra fields": with_extra,
    "other alphabets": of_other_alphabets,
    "empty": lambda path: written(path, 0),
}


@pytest.mark.parametrize("name", MAKERS)
def test_entries_are_those_of_zipfile(name: str, tmp_path: Path) -> None:
    path = MAKERS[name](tmp_path / "x.zip")
    ours, listed = open_zip(path), directory(path)
    with ZipFile(path) as theirs:
        infos = theirs.infolist()
        assert listed.names == [info.filename for info in infos]
        for field, key in (("offset", "header_offset"), ("packed", "compress_size"), ("size", "file_size")):
            assert getattr(listed, field).tolist() == [getattr(info, key) for info in infos]
        assert ours.files() == [info.filename for info in infos if not info.is_dir()]
        assert [ours.read(entry) for entry in ours.files()] == [theirs.read(entry) for entry in ours.files()]


def test_threads_read_one_zip_at_once(tmp_path: Path) -> None:
    archive = open_zip(written(tmp_path / "x.zip", 500))
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(archive.read, archive.files() * 4))
    assert read == [bytes([i % 251]) * (i % 97) for i in range(500)] * 4


def test_a_zip_cut_off_after_it_was_opened_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "x.zip", 50)
    archive = open_zip(path)
    with path.open("r+b") as file:
        file.truncate(40)
    with pytest.raises(InputError, match=r"x\.zip: 000/00007\.png: cannot be unpacked"):
        archive.read("000/00007.png")


def test_sizes_beyond_all_files_are_refused(tmp_path: Path) -> None:
    path = wide(tmp_path / "x.zip")
    data = path.read_bytes()
    at = data.index(b"else") + 8
    path.write_bytes(data[:at] + b"\xff" * 24 + data[at + 24 :])
    with pytest.raises(InputError, match=r"no readable zip file .a size beyond all files"):
        open_zip(path)


def test_a_directory_that_is_read_in_two_ways_is_refused(tmp_path: Path) -> None:
    """zipfile takes the length that the end record gives for what it is; a second end record hides in a comment."""
    path, other = tmp_path / "x.npz", BytesIO()
    with ZipFile(other, "w") as archive:
        archive.writestr("images.npy", b"other")
    data = written(path).read_bytes()
    comment = other.getvalue()[-22:-2] + b"\1\0" + b"."
    path.write_bytes(data[:-2] + struct.pack("<H", len(comment)) + comment)
    with pytest.raises(InputError, match="no readable zip file"):
        Npz(Npz.Config(path=str(path))).open(tmp_path)
