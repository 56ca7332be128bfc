"""What an image file says of itself before its pixels, read in bounded time; too much of anything is refused here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from struct import unpack_from

from attrs import evolve

from distillkit.api import InputError, frozen

PIXELS = 4096 * 4096
SCANS = 100  # of a JPEG, each a pass over all pixels; a progressive one has 10 to 20
PARTS = 65_536  # chunks or segments of a file, and bytes between segments: Pillow walks them in Python
EXTRAS = 100  # profiles of a PNG, each unpacked, or parts of a JPEG's EXIF, each joined to all before it
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # neither a stuffed 0xff nor a restart within a scan
BARE, FRAMES = {0x01, 0xD8}, {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # without a length; with the size
END, SCAN, APP1, APP2 = 0xD9, 0xDA, 0xE1, 0xE2
QUIET = {b"IHDR", b"IDAT", b"IEND", b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"sBIT", b"tIME"}  # chunks


@frozen
class Header:
    """Size, and what Pillow does not tell."""

    width: int
    height: int
    grey: bool = False
    depth: int = 8  # bits of a sample
    clear: tuple[int, ...] | None = None  # a PNG's transparent colour, in samples of `depth` bits
    quiet: bool = False  # Pillow has nothing to warn of: no EXIF, no animation, no palette
    plain: bool = False  # a quiet PNG of 8-bit grey or RGB, row by row


UNKNOWN = Header(1, 1)  # of a file whose header makes no sense


def header(data: bytes) -> Header:
    """Raises InputError for too many pixels, scans or parts; damage is Pillow's to name."""
    readers: list[tuple[bytes, Callable[[bytes], Header]]] = [(PNG, _png), (JPEG, _jpeg), (b"RIFF", _webp)]
    found = next((read(data) for magic, read in readers if data.startswith(magic)), UNKNOWN)
    check_size(found.width, found.height)
    return found


def check_size(width: int, height: int) -> None:
    """Raises InputError for an image that is too large or has no pixels."""
    if width * height > PIXELS or width < 1 or height < 1:
        raise InputError(f"{width}x{height} pixels, at most {PIXELS} in all")


def _png(data: bytes) -> Header:
    if len(data) < 33 or data[12:16] != b"IHDR":
        return UNKNOWN
    width, height, depth, kind, packing, filtering, interlaced = unpack_from(">2I5B", data, 16)
    check_size(width, height)
    clear, profiles, quiet = None, 0, True
    for i, (name, at, length) in enumerate(chunks(data)):
        quiet = quiet and name in QUIET
        profiles += name == b"iCCP"
        if i >= PARTS or profiles > EXTRAS:
            raise InputError(f"more than {PARTS} chunks" if i >= PARTS else f"more than {EXTRAS} colour profiles")
        if name == b"tRNS" and kind in (0, 2) and length == (2 if kind == 0 else 6) and at + length <= len(data):
            clear = unpack_from(f">{length // 2}H", data, at)
    plain = quiet and kind in (0, 2) and (depth, packing, filtering, interlaced) == (8, 0, 0, 0)
    return Header(width, height, kind in (0, 4), depth, clear, quiet, plain)


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length of each chunk's content."""
    at = len(PNG)
    while at + 8 <= len(data):
        length, name = unpack_from(">I4s", data, at)
        yield name, at + 8, length
        if name == b"IEND":
            return
        at += length + 12


def _jpeg(data: bytes) -> Header:
    size, scans, tags, between, end, quiet = UNKNOWN, 0, 0, 0, len(JPEG), True
    for i, (kind, at, start) in enumerate(_segments(data)):
        if not scans:
            between, end = between + start - end, at + _length(data, kind, at)
        quiet = quiet and kind != APP1 and not (kind == APP2 and data[at + 2 : at + 5] == b"MPF")
        scans, tags = scans + (kind == SCAN), tags + (kind == APP1 and data[at + 2 : at + 6] == b"Exif")
        if scans > SCANS or tags > EXTRAS or i >= PARTS:
            told = f"more than {EXTRAS} parts of EXIF" if tags > EXTRAS else f"more than {PARTS} segments"
            raise InputError(f"a JPEG of more than {SCANS} scans" if scans > SCANS else told)
        if kind in FRAMES and at + 8 <= len(data):
            height, width, components = unpack_from(">2HB", data, at + 3)
            size = Header(width, height, components == 1)
            check_size(width, height)
    if between + (0 if scans else len(data) - end) > PARTS:
        raise InputError(f"more than {PARTS} bytes between its segments")
    return evolve(size, quiet=quiet and size is not UNKNOWN)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind of each marker, the place after it and its own; the data of a scan are passed over, as libjpeg does."""
    at = len(JPEG)
    while (found := MARKER.search(data, at)) and (kind := found[1][0]) != END:
        at = found.end()
        yield kind, at, found.start()
        at += _length(data, kind, at)


def _length(data: bytes, kind: int, at: int) -> int:
    """Bytes of a segment after its marker."""
    return int.from_bytes(data[at : at + 2], "big") if kind not in BARE else 0


def _webp(data: bytes) -> Header:
    """Source: RFC 9649, section 2."""
    kind = data[12:16] if data[8:12] == b"WEBP" else b""
    if kind == b"VP8X":
        return Header(1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Header(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), quiet=True)
    if kind == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
        return Header(width, height, quiet=True)
    return UNKNOWN
