"""Image bombs and damaged images, arrays and tars that lie, folders that lead elsewhere."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from distillkit_datasets.images import decode
from PIL import Image, PngImagePlugin


def image(form: str, mode: str = "RGB", size: int = 8, **options: object) -> bytes:
    file = BytesIO()
    Image.new(mode, (size, size)).save(file, form, **options)
    return file.getvalue()


def noise(form: str) -> bytes:
    file = BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(file, form)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG that says it is so large and has next to no pixels."""
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def jpeg(side: int) -> bytes:
    data = image("jpeg")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">2H", side, side) + data[at + 4 :]


def webp(kind: bytes, payload: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(payload)) + payload
    return b"RIFF" + struct.pack("<I", len(body)) + body


def frames(form: str) -> bytes:
    file, parts = BytesIO(), [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    parts[0].save(file, form, save_all=True, append_images=parts[1:], duration=9)
    return file.getvalue()


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * (8 << 20), zip=True)
    return image("png", pnginfo=info)


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated until there are so many: each is a pass over all pixels."""
    data = image("jpeg", "L", progressive=True)
    last, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:last] + data[last:end] * (scans - data.count(b"\xff\xda") + 1) + data[end:]


def filled(middle: bytes) -> bytes:
    """A JPEG with something behind its first marker."""
    data = image("jpeg")
    return data[:2] + middle + data[2:]


def many_segments() -> bytes:
    return filled(b"\xff\xfe\0\2" * 65_536)


def transparent_of_16_bits() -> bytes:
    rows = b"".join(b"\0" + bytes(6 * 8) for _ in range(8))
    head = chunk(b"IHDR", struct.pack(">2I5B", 8, 8, 16, 2, 0, 0, 0)) + chunk(b"tRNS", bytes(6))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


PIXELS, NONE, DAMAGED = "pixels, at most 16777216", "no PNG, JPEG or WebP image", "damaged image"
JUDGED: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG of 400 megapixels": (lambda: png(20_000, 20_000), PIXELS),
    "PNG just too large": (lambda: png(4097, 4096), PIXELS),
    "PNG of four billion a side": (lambda: png(0xFFFFFFFF, 0xFFFFFFFF), "x"),
    "PNG without pixels": (lambda: png(0, 0), "x"),
    "JPEG of 65500 a side": (lambda: jpeg(65_500), PIXELS),
    "JPEG just too large": (lambda: jpeg(4097), PIXELS),
    "extended WebP": (lambda: webp(b"VP8X", bytes(4) + b"\xff\x3f\0" * 2), PIXELS),
    "lossless WebP": (lambda: webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(9)), PIXELS),
    "lossy WebP": (lambda: webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(9)), PIXELS),
    "compressed text of 8 MB": (text_bomb, DAMAGED),
    "GIF": (lambda: image("gif"), NONE),
    "BMP": (lambda: image("bmp"), NONE),
    "TIFF": (lambda: image("tiff"), NONE),
    "PostScript": (lambda: image("eps"), NONE),
    "WebP cut off": (lambda: noise("webp")[:-999], DAMAGED),
    "text": (lambda: b"hello", NONE),
    "PNG header damaged": (lambda: image("png").replace(b"\x08\x02", b"\x08\x06", 1), NONE),
    "nothing": (lambda: b"", NONE),
    "animated PNG": (lambda: frames("png"), "2 frames"),
    "animated WebP": (lambda: frames("webp"), "2 frames"),
    "JPEG of 2001 scans": (lambda: progressive(2001), "a JPEG of more than 100 scans"),
    "JPEG of many segments": (lambda: many_segments(), "more than 65536 segments"),
    "JPEG of fill bytes": (lambda: b"\xff\xd8" + b"\xff" * (8 << 20), "more than 65536 bytes between its segments"),
    "JPEG behind fill bytes": (lambda: filled(b"\xff" * 65_537), "more than 65536 bytes between its segments"),
    "JPEG behind zeros": (lambda: filled(bytes(65_537)), "more than 65536 bytes between its segments"),
    "JPEG of many parts of EXIF": (lambda: filled(b"\xff\xe1\0\x08Exif\0\0" * 101), "more than 100 parts of EXIF"),
    "PNG of many profiles": (lambda: png(8, 8, *[chunk(b"iCCP", b"a\0\0")] * 101), "more than 100 colour profiles"),
    "PNG of many chunks": (lambda: png(8, 8, *[chunk(b"teXt", b"")] * 65_536), "more than 65536 chunks"),
    "16-bit colours with a transparent one": (transparent_of_16_bits, "a transparent colour among colours of 16 bits"),
}
DECODED = {
    "PNG cut off": lambda: noise("png")[:-999],
    "JPEG cut off": lambda: noise("jpeg")[:-999],
    "PNG of few bytes": lambda: png(4000, 4000),
    "PNG with a gap": lambda: noise("png").replace(b"IDAT", b"IDAT" + bytes(9)),
}


@pytest.mark.parametrize("name", JUDGED)
def test_an_image_is_refused_by_its_header(name: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, message = JUDGED[name]
    with ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", make())
    refused(tmp_path / "x.zip", message, decoded=name.startswith("16-bit"))
    assert (tmp_path / "x.zip").stat().st_size < 9_000_000


def test_a_progressive_jpeg_of_100_scans_is_read() -> None:
    assert decode("x", progressive(100)).pixels.shape == (8, 8, 1)


@pytest.mark.parametrize("name", DECODED)
def test_a_damaged_image_is_named(name: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").write_bytes(DECODED[name]())
    refused(tmp_path / "set", "set: a.png: damaged image", decoded=True)


def npy(header: bytes, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def pickled() -> bytes:
    file = BytesIO()
    np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)
    return file.getvalue()


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("owned",)


LIES = "which is not what follows"
ARRAYS: dict[str, tuple[Callable[[], bytes], str]] = {
    "pickle": (pickled, "must be plain whole numbers"),
    "exabytes": (lambda: npy(b"{'descr':'|u1','fortran_order':False,'shape':(1000000000,4,4,3)}\n"), LIES),
    "negative": (lambda: npy(b"{'descr':'|u1','fortran_order':False,'shape':(-1,4,4,3)}\n", bytes(48)), "whole n"),
    "code for a header": (lambda: npy(b"__import__('os').mkdir('owned')\n"), "no readable array"),
    "deep header": (lambda: npy(b"(" * 9000 + b"\n"), "no readable array"),
    "no header": (lambda: b"", "no readable array"),
    "floats": (lambda: npy(b"{'descr':'<f4','fortran_order':False,'shape':(1,4,4,3)}\n", bytes(192)), "whole numbers"),
    "words": (lambda: npy(b"{'descr':'<u2','fortran_order':False,'shape':(1,4,4,3)}\n", bytes(96)), "must be uint8"),
    "bomb": (lambda: bytes(64 << 20), "more than 100 times"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_lies_is_refused(name: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, message = ARRAYS[name]
    with ZipFile(tmp_path / "x.npz", "w", ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", make())
    refused(tmp_path / "x.npz", message)


def tar(*members: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in members:
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.type, info.linkname, info.size = kind, "/etc/passwd", len(data)
            archive.addfile(info, BytesIO(data))
    return file.getvalue()


BATCH = "data_batch_1"
TARS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a link": (lambda: tar((BATCH, b""), kind=tarfile.SYMTYPE), "is a link, a device"),
    "a device": (lambda: tar((BATCH, b""), kind=tarfile.CHRTYPE), "is a link, a device"),
    "bomb of a batch": (lambda: tar((BATCH, bytes(33 << 20))), "more than 33554432 bytes"),
    "bomb of something": (lambda: gzip.compress(tarfile_header(8**11 - 1)), "too large"),
    "cut off": (lambda: tar((BATCH, bytes(9999)))[:-40], "no readable .tar.gz"),
    "no gzip": (lambda: b"hello", "no readable .tar.gz"),
    "no tar": (lambda: gzip.compress(b"hello" * 999), "no readable .tar.gz"),
    "nothing in it": (lambda: tar(), "has no data_batch_1"),
    "twice": (lambda: tar((BATCH, b""), (BATCH, b"")), "occurs twice"),
    "no rows": (lambda: tar((BATCH + ".bin", bytes(100))), "must be a multiple of 3073"),
    "code": (lambda: tar((BATCH, pickle.dumps(Bomb(), 2))), "no CIFAR-10 batch: GLOBAL 'posix mkdir'"),
    "new code": (lambda: tar((BATCH, pickle.dumps(Bomb(), 4))), "no CIFAR-10 batch: FRAME"),
    "old code": (lambda: tar((BATCH, b"cos\nsystem\n(S'id'\ntR.")), "no CIFAR-10 batch: GLOBAL 'os system'"),
    "memo bomb": (lambda: tar((BATCH, b"\x80\x02Nr\xff\xff\xff\x0f.")), "pixels, must be 3072 of u1"),
    "no pickle": (lambda: tar((BATCH, b"\xff\xfe")), "no CIFAR-10 batch: at position 0, opcode"),
    "long string": (lambda: tar((BATCH, b"\x80\x02T\xff\xff\xff\x7f")), "no CIFAR-10 batch"),
}


def tarfile_header(size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("name", TARS)
def test_a_hostile_tar_is_refused(name: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    make, message = TARS[name]
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(make())
    refused(tmp_path / "cifar-10-python.tar.gz", message)


def big_file(folder: Path) -> None:
    with open(folder / "b.png", "wb") as file:
        file.truncate(1 << 30)


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a file": (lambda folder: (folder / "b.png").symlink_to("/etc/passwd"), "b.png: is neither a plain file"),
    "a link to a folder": (lambda folder: (folder / "b").symlink_to("/etc"), "b: is neither a plain file"),
    "a pipe": (lambda folder: os.mkfifo(folder / "b.png"), "b.png: is neither a plain file"),
    "a line feed": (lambda folder: (folder / "b\n.png").touch(), "b\\n.png: is neither a plain file"),
    "a gigabyte": (big_file, "b.png: 1073741824 bytes"),
    "another format": (lambda folder: (folder / "b.tiff").touch(), "b.tiff: images are PNG, JPEG or WebP"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_leads_elsewhere_is_refused(name: str, tmp_path: Path, refused: Callable[..., None]) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").write_bytes(image("png"))
    make, message = FOLDERS[name]
    make(tmp_path / "set")
    refused(tmp_path / "set", message, decoded=name == "another format")
