"""What Windows and macOS lack is asked for here, so that all else reads as on Linux."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # where it is missing no pipe has a name in a folder
# O_BINARY: Windows would write another byte before each end of a line.
SAFE = NOFOLLOW | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOINHERIT", "O_BINARY"))
FOLDERS = os.name != "nt"  # whether a folder can be opened, and its names forced to the disk
READERS = os.name == "nt"  # whether who reads a file keeps it from being replaced
SECONDS, TRIES = 0.1, 20  # between tries, and how many


def opened(path: str | Path, flags: int, mode: int = 0o666) -> int:
    """A descriptor of a file, never through a link; not passed on to processes that are started."""
    if not NOFOLLOW and os.path.islink(path):  # a moment before it is opened, which is as good as it gets
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, flags | SAFE, mode)


def forced(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk as far as the system can."""
    if not FOLDERS and path.is_dir():
        return
    fd = opened(path, os.O_RDONLY if FOLDERS else os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replaced(source: Path, target: Path) -> None:
    """Rename over a file; where readers keep it, such as a browser's or a scanner's, wait a little for them."""
    for left in range(TRIES if READERS else 1, 0, -1):
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if left == 1:
                raise
            time.sleep(SECONDS)
