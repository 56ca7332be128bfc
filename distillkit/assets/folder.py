"""The folder of assets, and the sums of the files that were downloaded to it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distillkit.api import InputError
from distillkit.assets.table import UNKNOWN, Asset
from distillkit.disk import files

_INSTEAD: dict[Path, tempfile.TemporaryDirectory[str]] = {}  # of folders that cannot be written
LOCK = "assets.lock"  # as `sha256sum -c` reads it


def home() -> Path:
    """Where what any run may use again is kept: $DISTILLKIT_HOME, by default distillkit in the user's cache folder."""
    if place := os.environ.get("DISTILLKIT_HOME"):
        return Path(place)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "distillkit"


def cache() -> Path:
    """`home`, or a folder of this process where nothing can be written there: what it keeps saves time alone."""
    place = home()
    if writable(place):
        return place
    if place not in _INSTEAD:
        _INSTEAD[place] = tempfile.TemporaryDirectory(prefix="distillkit-cache-")
    # Each time: the first one may be in a trial whose warnings nobody sees.
    warnings.warn(f"{place} cannot be written, so nothing is kept for later runs: set DISTILLKIT_HOME", stacklevel=2)
    return Path(_INSTEAD[place].name)


def writable(place: Path) -> bool:
    """Whether a folder takes files, or can be made: the nearest one that is there is tried, nothing is left."""
    try:
        there = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
        with tempfile.TemporaryFile(dir=there):
            return True
    except OSError:
        return False


@contextmanager
def elsewhere(place: str) -> Iterator[None]:
    """Inside, what runs keep for later runs is kept there."""
    before = os.environ.get("DISTILLKIT_HOME")
    os.environ["DISTILLKIT_HOME"] = place
    try:
        yield
    finally:
        del os.environ["DISTILLKIT_HOME"]
        if before is not None:
            os.environ["DISTILLKIT_HOME"] = before


def folder() -> Path:
    """Where assets lie."""
    return home() / "assets"


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def foreign(path: Path) -> bool:
    """Whether others put it there or may change it: not this user, root, or whom the folder that it lies in belongs to.

    Nothing that is foreign in a shared $DISTILLKIT_HOME is used.
    """
    if not hasattr(os, "getuid"):
        return False
    found = path.lstat()
    everybody = stat.S_ISREG(found.st_mode) and bool(found.st_mode & stat.S_IWOTH)
    return everybody or found.st_uid not in (0, os.getuid(), path.parent.stat().st_uid)


def require_ours(path: Path) -> None:
    """Raises InputError for what is foreign."""
    if foreign(path):
        raise InputError(f"{path}: another user put it there, or may change it: copy it, or set DISTILLKIT_HOME")


def locked(where: Path) -> dict[str, str]:
    """Name -> sha256 of what was downloaded before. Raises InputError if that cannot be read."""
    path = where / LOCK
    if not os.path.lexists(path):
        return {}
    if path.is_symlink():
        raise InputError(f"{path}: is a link, which nothing here makes; remove it")
    require_ours(path)
    lines = files.read(path).decode("ascii", errors="replace").splitlines()
    found = [re.fullmatch(r"([0-9a-f]{64})  (\S+)", line) for line in lines]
    if not all(found):
        number = found.index(None) + 1
        raise InputError(f"{path}:{number}: must be a sha256, two spaces and a name; remove the line or the file")
    return {match[2]: match[1] for match in found if match}


def lock(where: Path, name: str, digest: str) -> None:
    """Note the sum of a file, in place of one noted before."""
    lines = [f"{each}  {other}\n" for other, each in sorted({**locked(where), name: digest}.items())]
    files.write_atomic(where / LOCK, "".join(lines).encode("ascii"))


def check(asset: Asset, where: Path, digest: str) -> None:
    """Raises InputError unless the sum is the table's, and the one noted on first use."""
    for known, whose in ((asset.sha256, "the table"), (locked(where).get(asset.name, UNKNOWN), f"{where / LOCK}")):
        if known != UNKNOWN and not digest.startswith(known):
            raise InputError(f"{asset.name}: sha256 is {digest}, {whose} says {known}")
