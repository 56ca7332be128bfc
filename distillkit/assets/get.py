"""One asset of the table -> the folder of assets, its sum checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from distillkit.api import InputError, ResourceError, UsageError
from distillkit.api.errors import FULL
from distillkit.assets import folder as folders
from distillkit.assets.fetch import Progress, Rules, fetch
from distillkit.assets.table import Asset, hosts

DOWNLOADING = ".downloading"  # whose lock who downloads holds


def get(
    asset: Asset, where: Path, progress: Progress = lambda done, total: None, rules: Rules | None = None
) -> tuple[Path, bool]:
    """Download it unless it is there -> its path, and whether it was there; `rules` are for tests.

    Raises InputError: offline, refused by the server, or another file than the table or an earlier download says;
    ResourceError or UsageError where it cannot be written.
    """
    path, part = where / asset.name, where / f"{asset.name}.part"
    if path.is_file():
        folders.require_ours(path)
        folders.check(asset, where, folders.sha256(path))
        return path, True
    if asset.url is None:
        raise InputError(f"{asset.name}: nobody publishes it as one file; {asset.source}; then put it at {path}")
    if os.environ.get("DISTILLKIT_OFFLINE", "") not in ("", "0"):
        raise InputError(f"{asset.name}: DISTILLKIT_OFFLINE is set; put what {asset.url} holds at {path}")
    with _writing(where), _alone(where):
        fetch(asset.url, part, rules or Rules(hosts=hosts(), limit=asset.limit), progress)
        digest = folders.sha256(part)
        try:
            folders.check(asset, where, digest)
        except InputError:
            part.unlink()
            raise
        folders.lock(where, asset.name, digest)
        os.replace(part, path)
    return path, False


@contextmanager
def _writing(where: Path) -> Iterator[None]:
    """Makes the folder. Raises ResourceError when the disk is full, UsageError when it cannot be written to."""
    try:
        where.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        full = error.errno in FULL
        hint = "make room, then `get` again to go on" if full else "set DISTILLKIT_HOME to a folder of yours"
        raise (ResourceError if full else UsageError)(f"{where}: {error.strerror or error}; {hint}") from error


@contextmanager
def _alone(where: Path) -> Iterator[None]:
    """One download to a folder at a time: two would write the same part, or the same list of sums."""
    try:
        with FileLock(where / DOWNLOADING, timeout=0):
            yield
    except Timeout as error:
        raise InputError(f"{where}: another download is under way; wait for it") from error
