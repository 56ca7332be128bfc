"""Chosen members of a .tar.gz, read in bounded memory and time; nothing is extracted."""

from __future__ import annotations

import gzip
import zlib
from gzip import GzipFile
from pathlib import Path

from distillkit.api import InputError
from distillkit_datasets.told import near
from distillkit_datasets.zipsafe import one_line

BLOCK = 512
TOTAL_BYTES = 256 << 20  # unpacked; CIFAR-10 takes 186 MB
FILES, SKIPPED = tuple(b"0\0"), tuple(b"5xg")  # type flags; folders and extended headers are skipped


def members(path: Path, wanted: dict[str, int]) -> dict[str, bytes]:
    """Name (without folders) -> bytes of the wanted members that there are; `wanted` gives their largest size.

    Raises InputError.
    """
    try:
        with gzip.open(path) as file:
            return dict(_members(file, wanted))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file{near(path)}") from error
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: no readable .tar.gz ({one_line(error)})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _members(file: GzipFile, wanted: dict[str, int]) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    total = 0
    while (header := _exactly(file, BLOCK)).strip(b"\0"):
        name, size, kind = (
            header[:100].rstrip(b"\0").decode("ascii"),
            int(header[124:136].strip(b" \0"), 8),
            header[156],
        )
        base, padded = name.rpartition("/")[2], -(-size // BLOCK) * BLOCK
        total += BLOCK + padded
        if kind not in FILES + SKIPPED or size < 0 or total > TOTAL_BYTES:
            raise InputError(f"member {name[:80]!a} is a link, a device, or too large")
        if base in wanted and kind in FILES:
            if size > wanted[base] or base in dict(found):
                raise InputError(f"member {name[:80]!a} occurs twice or takes more than {wanted[base]} bytes")
            found.append((base, _exactly(file, padded)[:size]))
        else:
            for start in range(0, padded, 1 << 20):
                _exactly(file, min(1 << 20, padded - start))
    return found


def _exactly(file: GzipFile, n: int) -> bytes:
    data = file.read(n)
    if len(data) != n:
        raise EOFError(f"ends {n - len(data)} bytes early")
    return data
