"""What a tar holds and where, by its headers: each is judged, and nothing is extracted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from distillkit.api import InputError
from distillkit_datasets.shards import Shard
from distillkit_datasets.zipsafe import name_fault, one_line

BLOCK = 512
EXTENSION = 1 << 16  # bytes of an extended header, at most
FILES, FOLDER, LONG_NAME, EXTENDED, GLOBAL = (0, 0x30), 0x35, 0x4C, 0x78, 0x67  # type flags
READ = {b"path", b"size"}  # of an extended header


@frozen
class Member:
    """A plain file in a tar."""

    name: str
    offset: int
    size: int


def members(shard: Shard) -> Iterator[Member]:
    """Plain files of a tar, in its order. Raises InputError that begins with the shard."""
    try:
        yield from _members(Blocks(shard).read, shard.size)
    except InputError as error:
        raise InputError(f"{shard.where}: {error}") from error
    except Exception as error:  # damage, and file systems of others, which raise nearly anything
        raise InputError(f"{shard.where}: no readable tar ({one_line(error)})") from error


class Blocks:
    """Reads of a few bytes, forwards, out of larger ones."""

    def __init__(self, shard: Shard) -> None:
        self._shard, self._at, self._data = shard, 0, b""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes. Raises EOFError."""
        if not self._at <= offset <= offset + length <= self._at + len(self._data):
            self._at, self._data = offset, self._shard.read(offset, max(length, self._shard.chunk))
        found = self._data[offset - self._at : offset - self._at + length]
        if len(found) < length:
            raise EOFError(f"ends {length - len(found)} bytes early")
        return found


def _members(read: Callable[[int, int], bytes], end: int) -> Iterator[Member]:
    at, told = 0, dict[bytes, bytes]()
    while (header := read(at, BLOCK)).strip(b"\0"):
        kind, size, start = header[156], _size(header), at + BLOCK
        if sum(header) - sum(header[148:156]) + 8 * 0x20 != _octal(header[148:156]):
            raise ValueError(f"damaged header at byte {at}")
        if size < 0:
            raise ValueError(f"a size below 0 at byte {at}")
        if kind in (EXTENDED, GLOBAL, LONG_NAME):
            if size > EXTENSION:
                raise InputError(f"an extended header of {size} bytes, at most {EXTENSION}")
            data = read(start, size)
            if kind != GLOBAL:
                told |= _records(data) if kind == EXTENDED else {b"path": data.rstrip(b"\0")}
        else:
            size = int(told.get(b"size", size))
            name = _name(told.get(b"path") or _own_name(header))
            told = {}
            if kind not in (*FILES, FOLDER):
                raise InputError(f"member {name[:80]!a} is a link, a device, or of another unusual kind")
            if size < 0 or start + size > end:
                raise InputError(f"member {name[:80]!a} of {size} bytes goes beyond the end: the tar is cut off")
            if kind in FILES and not name.endswith("/"):
                yield Member(name, start, size)
        at = start + -(-size // BLOCK) * BLOCK


def _own_name(header: bytes) -> bytes:
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _name(raw: bytes) -> str:
    """Raises InputError for what is no plain relative path; a leading "./", which tar writes, is left out."""
    name = raw.decode("utf-8", errors="replace").removeprefix("./")
    if name and (fault := name_fault(name)):
        raise InputError(f"member {name[:80]!a} {fault}")
    return name or "./"


def _octal(field: bytes) -> int:
    return int(field.strip(b" \0") or b"0", 8)


def _size(header: bytes) -> int:
    field = header[124:136]
    return int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)


def _records(data: bytes) -> dict[bytes, bytes]:
    """What an extended header of pax says of the next member: "LENGTH KEY=VALUE\\n", one after another."""
    found, at = {}, 0
    while at < len(data):
        length = int(data[at : data.index(b" ", at)])
        key, _, value = data[at : at + length].partition(b" ")[2].partition(b"=")
        if length < 1 or not value.endswith(b"\n"):
            raise ValueError("damaged extended header")
        if key.startswith(b"GNU.sparse"):
            raise InputError("a sparse file, which is not read")
        if key in READ:
            found[key] = value[:-1]
        at += length
    return found
