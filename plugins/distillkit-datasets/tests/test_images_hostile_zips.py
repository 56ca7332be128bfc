"""Zips that nobody should open: refused by their directory, before anything is unpacked."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_BZIP2, ZIP_DEFLATED

import pytest
import torch
from attrs import evolve, frozen
from distillkit_datasets import zip_directory, zipsafe
from distillkit_datasets.image_zip import ImageZip
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from distillkit.api import InputError


def png(size: int = 4) -> bytes:
    file = BytesIO()
    Image.new("RGB", (size, size), (1, 2, 3)).save(file, "png", compress_level=0)
    return file.getvalue()


@frozen
class Entry:
    """One entry, with whatever its directory shall say of it."""

    name: bytes = b"a.png"
    data: bytes = png()
    method: int = 0
    flags: int = 0
    mode: int = 0
    size: int | None = None  # unpacked, as the directory says
    packed: int | None = None
    offset: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    version: int = 20


def forge(*entries: Entry, shift: int = 0) -> bytes:
    """A zip file with exactly these entries; `shift`: how far its directory's place is misstated."""
    body, directory = b"", b""
    for e in entries:
        data = e.data
        if e.method == ZIP_DEFLATED:
            deflate = zlib.compressobj(wbits=-15)
            data = deflate.compress(e.data) + deflate.flush()
        crc = zlib.crc32(e.data) if e.crc is None else e.crc
        sizes = len(data) if e.packed is None else e.packed, len(e.data) if e.size is None else e.size
        name, at = e.name if e.local_name is None else e.local_name, len(body) if e.offset is None else e.offset
        body += (
            struct.pack("<4s5H3I2H", b"PK\3\4", 20, e.flags, e.method, 0, 33, crc, *sizes, len(name), 0) + name + data
        )
        directory += struct.pack(
            "<4s4B4H3I5H2I", b"PK\1\2", 20, 3, e.version, 0, e.flags, e.method, 0, 33, crc, *sizes, len(e.name), 0, 0,
            0, 0, e.mode << 16, at,
        ) + e.name  # fmt: skip
    n = min(len(entries), 0xFFFF)
    return body + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, n, n, len(directory), len(body) + shift, 0)


def named(name: bytes) -> Callable[[], bytes]:
    return lambda: forge(Entry(), Entry(name=name))


def other(**changes: object) -> Callable[[], bytes]:
    """A harmless entry, then one that is not."""
    return lambda: forge(Entry(name=b"0.png"), evolve(Entry(), **changes))


GOOD = forge(Entry(name=b"0.png"), Entry())
ABSOLUTE, PART, ODD = "is absolute, names a drive", "an empty part, '.' or '..'", "empty, too long or holds control"
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute name": (named(b"/etc/passwd.png"), ABSOLUTE),
    "share": (named(b"//host/x.png"), ABSOLUTE),
    "drive": (named(b"C:/x.png"), ABSOLUTE),
    "drive without root": (named(b"c:x.png"), ABSOLUTE),
    "backslashes": (named(b"..\\x.png"), ABSOLUTE),
    "backslash deep down": (named(b"a/b\\..\\x.png"), ABSOLUTE),
    "parent": (named(b"../x.png"), PART),
    "parent deep down": (named(b"a/../../x.png"), PART),
    "parent at the end": (named(b"a/.."), PART),
    "dot": (named(b"./a.png"), PART),
    "empty part": (named(b"a//b.png"), PART),
    "empty name": (named(b""), ODD),
    "NUL": (named(b"b.png\0.txt"), ODD),
    "line feed": (named(b"b\n.png"), ODD),
    "escape sequence": (named(b"\x1b[2Jb.png"), ODD),
    "long name": (named(b"a/" * 300 + b"b.png"), ODD),
    "name twice": (other(name=b"0.png"), "occurs twice"),
    "symbolic link": (other(mode=stat.S_IFLNK | 0o777, data=b"/etc/passwd"), "a link or a device"),
    "device": (other(mode=stat.S_IFCHR | 0o666), "a link or a device"),
    "pipe": (other(mode=stat.S_IFIFO | 0o666), "a link or a device"),
    "encrypted": (other(flags=1), "is encrypted"),
    "strongly encrypted": (other(flags=0x40), "is encrypted"),
    "bzip2": (other(method=ZIP_BZIP2), "packed by method 12"),
    "unknown method": (other(method=99), "packed by method 99"),
    "same bytes twice": (other(offset=0), "overlaps"),
    "entry within an entry": (lambda: forge(Entry(size=300, packed=300), Entry(name=b"b.png")), "overlaps"),
    "into the directory": (other(size=400, packed=400), "overlaps"),
    "beyond the end": (other(offset=1 << 30), "overlaps"),
    "bomb": (other(method=ZIP_DEFLATED, data=bytes(4 << 20)), "more than 100 times"),
    "bomb as labels": (other(method=ZIP_DEFLATED, name=b"dataset.json", data=b" " * (1 << 20)), "more than 100 times"),
    "nothing becomes much": (other(method=ZIP_DEFLATED, packed=0, size=1000), "more than 100 times"),
    "huge entry": (other(method=ZIP_DEFLATED, size=1 << 30, packed=1 << 28), "unpacks to 1073741824 bytes"),
    "two sizes": (other(size=100), "gives two sizes"),
    "newer version": (other(version=99), "no readable zip file"),
    "no directory": (lambda: GOOD[:-30], "no readable zip file"),
    "directory elsewhere": (lambda: forge(Entry(), shift=1 << 20), "overlaps"),
    "garbage": (lambda: b"PK\3\4" + bytes(range(256)) * 4, "no readable zip file"),
    "empty file": (lambda: b"", "no readable zip file"),
    "no entries": (lambda: forge(), "holds no images"),
    "no images": (lambda: forge(Entry(name=b"readme.txt")), "holds no images"),
    "another format": (named(b"b.gif"), "b.gif: images are PNG, JPEG or WebP"),
    "vector graphics": (named(b"b.SVG"), "b.SVG: images are PNG, JPEG or WebP"),
}
LABELS = {
    "no JSON": (b"{labels", "dataset.json must hold"),
    "no table": (b'["labels"]', "dataset.json must hold"),
    "without labels": (b'{"class_names": ["a"]}', "dataset.json must hold"),
    "labels are an object": (b'{"labels": {"a.png": 0}}', 'entry 0 is {"a.png": 0}'),
    "deep": (b"[" * 50_000, "dataset.json must hold"),
    "long number": (b'{"labels": [["a.png", %s]]}' % (b"9" * 5000), "dataset.json must hold"),
    "not UTF-8": (b'{"labels": "\xff"}', "dataset.json must hold"),
    "pairs of three": (b'{"labels": [["a.png", 0, 0]]}', 'entry 0 is ["a.png", 0, 0]'),
    "name is a number": (b'{"labels": [["b.png", 0], [1, 0]]}', "entry 1 is [1, 0]"),
    "listed twice": (b'{"labels": [["a.png", 0], ["a.png", 1]]}', "lists a.png twice, as 0 and 1"),
    "one class listed as two kinds": (b'{"labels": [["a.png", 0], ["a.png", false]]}', "twice, as 0 and false"),
    "one is missing": (b'{"labels": [["b.png", 0]]}', "a.png: dataset.json has no label for it"),
    "billions of classes": (b'{"labels": [["a.png", 9999999999]]}', "a.png: label 9999999999; labels must be classes"),
    "negative": (b'{"labels": [["a.png", -1]]}', "a.png: label -1; labels must be classes from 0"),
    "boolean": (b'{"labels": [["a.png", true]]}', "labels must be classes from 0"),
    "text": (b'{"labels": [["a.png", "cat"]]}', 'a.png: label "cat"; labels must be classes'),
    "empty vector": (b'{"labels": [["a.png", []]]}', "labels must be classes from 0"),
    "not a number": (b'{"labels": [["a.png", [NaN]]]}', "a.png: label [NaN]; labels must be classes from 0"),
    "infinite": (b'{"labels": [["a.png", [1e999]]]}', "a.png: label [Infinity]; labels must be classes from 0"),
    "beyond float32": (b'{"labels": [["a.png", [0, 1e39]]]}', "a.png: label [0, 1e+39]; labels must be classes"),
    "a whole number beyond all": (b'{"labels": [["a.png", [1%s]]]}' % (b"0" * 400), "a.png: label [1000"),
    "list in a list": (b'{"labels": [["a.png", [[1]]]]}', "a.png: label [[1]]; labels must be classes from 0"),
    "a name too few": (b'{"labels": [["a.png", 1]], "class_names": ["x"]}', "a.png: label 1; class_names has 1"),
    "a name twice": (b'{"labels": [["a.png", 0]], "class_names": ["x", "x"]}', "must be a list of names, each once"),
    "a name that is none": (b'{"labels": [["a.png", 0]], "class_names": [7]}', "must be a list of names, each once"),
    "a name that escapes": (b'{"labels": [["a.png", 0]], "class_names": ["\\u001b[2J"]}', "must be a list of names"),
    "names for lists": (b'{"labels": [["a.png", [0]]], "class_names": ["x"]}', "must be a list of names, each once"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_zip_is_refused_by_its_directory(name: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, message = HOSTILE[name]
    (tmp_path / "x.zip").write_bytes(make())
    refused(tmp_path / "x.zip", message, decoded="images are PNG" in message)


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_make_no_sense_are_refused(name: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    data, message = LABELS[name]
    (tmp_path / "x.zip").write_bytes(forge(Entry(), Entry(name=b"dataset.json", data=data)))
    refused(tmp_path / "x.zip", message)


def test_too_many_entries_and_too_much_in_all_are_refused(
    tmp_path: Path, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.zip").write_bytes(forge(*(Entry(name=b"%d.png" % i) for i in range(6))))
    monkeypatch.setattr(zipsafe, "TOTAL_BYTES", 6 * len(png()) - 1)
    refused(tmp_path / "x.zip", "unpacks to")
    monkeypatch.setattr(zipsafe, "ENTRIES", 5)
    refused(tmp_path / "x.zip", "6 entries, at most 5")


@pytest.mark.parametrize("entries", [1_000, 1_001])
def test_a_directory_that_is_most_of_the_file_is_refused_before_it_is_read(
    entries: int, tmp_path: Path, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million empty entries took nine seconds and 0.7 GB: what lists nothing is not worth reading."""
    (tmp_path / "x.zip").write_bytes(forge(*(Entry(name=b"%08d.png" % i, data=b"") for i in range(entries))))
    monkeypatch.setattr(zip_directory, "SMALL_DIRECTORY", 58_000)  # of 1,000 entries
    judged = []
    monkeypatch.setattr(zipsafe, "check", lambda archive, *_: judged.append(archive))
    if entries == 1_000:
        zipsafe.open_zip(tmp_path / "x.zip")
    else:
        refused(tmp_path / "x.zip", "a directory of 58058 bytes, at most 58000 in a file of this size")
    assert len(judged) == (entries == 1_000)


@pytest.mark.parametrize(
    "data",
    [forge(Entry(crc=1)), forge(Entry(local_name=b"b.png")), forge(Entry(method=8)).replace(b"png", b"pn9", 1),
     forge(Entry(method=ZIP_DEFLATED, data=bytes(range(256)))).replace(b"a.png", b"a.png" + b"\xff" * 9, 1)],
    ids=["wrong CRC", "another name", "another name, deflated", "damaged"],
)  # fmt: skip
def test_an_entry_that_is_not_what_the_directory_says_is_refused(
    data: bytes, tmp_path: Path, refused: Callable[..., None]
) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    refused(tmp_path / "x.zip", "a.png: cannot be unpacked")


@pytest.mark.parametrize(
    "trespass", [lambda folder: Path("/etc/hosts").read_bytes(), lambda folder: (folder / "x").touch()]
)
def test_the_watch_sees_what_it_is_to_see(
    trespass: Callable[[Path], object], tmp_path: Path, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipsafe, "check", lambda *_: trespass(tmp_path))
    (tmp_path / "x.zip").write_bytes(forge())
    with pytest.raises(AssertionError):
        refused(tmp_path / "x.zip", "holds no images")


def test_a_link_a_folder_or_a_pipe_called_zip_is_no_way_in(tmp_path: Path, refused: Callable[..., None]) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    refused(tmp_path / "pipe.zip", "no such file")
    (tmp_path / "link.zip").symlink_to("/dev/zero")
    refused(tmp_path / "link.zip", "no such file")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(at=st.integers(0, len(GOOD) - 1), bits=st.integers(1, 255))
def test_a_zip_with_any_byte_changed_is_read_or_refused(at: int, bits: int) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "x.zip").write_bytes(GOOD[:at] + bytes([GOOD[at] ^ bits]) + GOOD[at + 1 :])
        dataset = ImageZip(ImageZip.Config(path="x.zip"))
        try:
            dataset.open(Path(folder))
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert dataset.images(torch.arange(len(dataset))).abs().max() <= 1


def test_the_forged_zip_without_a_fault_is_read(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(forge(Entry(name=b"0.png"), Entry(method=ZIP_DEFLATED)))
    assert zipsafe.open_zip(tmp_path / "x.zip").read("a.png") == png()
