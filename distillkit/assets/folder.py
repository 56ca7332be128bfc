"""The folder of assets, and the sums of the files that were downloaded to it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distillkit.api import InputError
from distillkit.assets.table import UNKNOWN, Asset

LOCK = "assets.lock"  # as `sha256sum -c` reads it


def home() -> Path:
    """Where what any run may use again is kept: $DISTILLKIT_HOME, by default ~/.cache/distillkit."""
    return Path(os.environ.get("DISTILLKIT_HOME") or Path.home() / ".cache" / "distillkit")


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


def locked(where: Path) -> dict[str, str]:
    """Name -> sha256 of what was downloaded before. Raises InputError if that cannot be read."""
    path = where / LOCK
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    found = [re.fullmatch(r"([0-9a-f]{64})  (\S+)", line) for line in lines]
    if not all(found):
        number = found.index(None) + 1
        raise InputError(f"{path}:{number}: must be a sha256, two spaces and a name; remove the line or the file")
    return {match[2]: match[1] for match in found if match}


def lock(where: Path, name: str, digest: str) -> None:
    """Note the sum of a file, in place of one noted before."""
    lines = [f"{each}  {other}\n" for other, each in sorted({**locked(where), name: digest}.items())]
    new = where / f"{LOCK}.new"
    new.write_text("".join(lines), encoding="ascii")
    os.replace(new, where / LOCK)


def check(asset: Asset, where: Path, digest: str) -> None:
    """Raises InputError unless the sum is the table's, and the one noted on first use."""
    for known, whose in ((asset.sha256, "the table"), (locked(where).get(asset.name, UNKNOWN), f"{where / LOCK}")):
        if known != UNKNOWN and not digest.startswith(known):
            raise InputError(f"{asset.name}: sha256 is {digest}, {whose} says {known}")
