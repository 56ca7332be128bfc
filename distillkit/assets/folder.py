"""The folder of assets, and the sums of the files that were downloaded to it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    """`home`, or this user's folder in one that others may write to: no file tells who made what it holds.

    A folder of this process where nothing can be written there: what it keeps saves time alone.
    """
    place = home()
    if _shared(place):
        place = place / f"user-{os.getuid()}"
        with suppress(OSError):
            place.mkdir(mode=0o700)
    if writable(place) and not (os.path.lexists(place) and foreign(place)):
        return place
    if place not in _INSTEAD:
        _INSTEAD[place] = tempfile.TemporaryDirectory(prefix="distillkit-cache-")
    # Each time: the first one may be in a trial whose warnings nobody sees.
    warnings.warn(
        f"{place} cannot be written or is another user's, so nothing is kept for later runs: set DISTILLKIT_HOME",
        stacklevel=2,
    )
    return Path(_INSTEAD[place].name)


def _shared(place: Path) -> bool:
    """Whether others may write to a folder: everybody, or a group that is not this user's own (of the same name)."""
    if not hasattr(os, "getuid") or not place.is_dir():
        return False
    import grp
    import pwd

    found = place.stat()
    try:
        own = grp.getgrgid(found.st_gid).gr_name == pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        own = False
    return bool(found.st_mode & (stat.S_IWOTH if own else stat.S_IWOTH | stat.S_IWGRP))


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
    """Whether others put it there or may change it: not this user, root, or whom `home` belongs to.

    The folders on the way to it are asked too. Elsewhere than in `home`: whom the folder that it lies in belongs to.
    Nothing that is foreign in a shared $DISTILLKIT_HOME is used.
    """
    if not hasattr(os, "getuid"):
        return False
    path, place = path.absolute(), home().absolute()
    mode = path.lstat().st_mode
    everybody = stat.S_ISREG(mode) and bool(mode & stat.S_IWOTH)
    top = place if place in path.parents else path.parent
    way = [path, *(folder for folder in path.parents if top in folder.parents)]
    ours = (0, os.getuid(), top.stat().st_uid)
    return everybody or any(part.lstat().st_uid not in ours for part in way)


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
