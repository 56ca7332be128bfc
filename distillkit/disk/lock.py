"""One process at a time in a folder: by a lock of the system, and by signs of life on a disk shared by hosts."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from distillkit.api.errors import FULL, ResourceError, UsageError
from distillkit.disk import files

LOCK, OWNER = "lock", "owner.json"
BEAT = 10.0  # seconds between signs of life of an owner
PATIENCE = 90.0  # seconds without one after which an owner on another host is taken for dead; NFS may hide a minute


class InUse(UsageError):
    """Another process works here."""


@contextmanager
def held(folder: Path, take_over: bool = False) -> Iterator[None]:
    """Be the only process that writes in `folder`; freed by any kind of death.

    The system's lock may not reach other hosts of a shared disk. So an owner also writes who it is and touches that
    file now and then; one of another host that did not sign off is watched for PATIENCE seconds, or not with
    `take_over`. Raises InUse that names the owner, UsageError where nothing can be locked.
    """
    lock = FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InUse(f"{folder} is in use by {_owner(folder)}: wait for it, or stop it") from None
    except OSError as error:
        raise UsageError(f"cannot lock {folder}: {error.strerror}") from error
    try:
        if not take_over:
            _refuse_the_living(folder)
        with _signed(folder):
            yield
    finally:
        lock.release()


def alive(folder: Path) -> bool:
    """Whether a process on any host works there, by its sign of life; nothing is locked to find out."""
    try:
        return time.time() - (folder / OWNER).stat().st_mtime < 3 * BEAT
    except OSError:  # nobody signed, or the folder is gone
        return False


def mine(folder: Path) -> bool:
    """Whether the folder still is the one that this process holds: nobody deleted, moved or replaced it."""
    return _signature(folder) == (os.getpid(), socket.gethostname())


def _signature(folder: Path) -> tuple[int, str] | None:
    """Process and host of who works there; None where that cannot be read."""
    try:
        facts = json.loads(files.read(folder / OWNER))
        return int(facts["process"]), str(facts["host"])[:80]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _owner(folder: Path) -> str:
    found = _signature(folder)
    if found:
        return f"process {found[0]} on {ascii(found[1])[1:-1]}"
    try:  # distillkit 0.1.0 wrote its name into the lock itself
        return ascii(files.read(folder / LOCK)[:200].decode(errors="replace"))[1:-1] or "another process"
    except OSError:
        return "another process"


def _refuse_the_living(folder: Path) -> None:
    """Raises InUse if an owner on another host shows a sign of life; says so where it is taken for dead."""
    found, path = _signature(folder), folder / OWNER
    if found is None or found[1] == socket.gethostname():
        return  # it signed off, or is dead: we hold the lock of this host
    name, before = _owner(folder), _touched(path)
    warnings.warn(f"{folder} was left by {name}: watching {PATIENCE:g} s whether that lives", stacklevel=4)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(min(1.0, PATIENCE / 10))
        if _touched(path) != before:
            raise InUse(f"{folder} is in use by {name}: wait for it, stop it, or take over with --take-over")
    warnings.warn(f"{name} showed no sign of life and is taken for dead", stacklevel=4)


def _touched(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


@contextmanager
def _signed(folder: Path) -> Iterator[None]:
    """Inside, the folder says who works here."""
    path = folder / OWNER
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        files.write_json(path, {"process": os.getpid(), "host": socket.gethostname(), "since": now})
    except OSError as error:
        kind = ResourceError if error.errno in FULL else UsageError
        raise kind(f"cannot lock {folder}: {error.strerror}: {path}") from error
    over = threading.Event()
    threading.Thread(target=_live, args=(path, over), daemon=True, name="sign of life").start()
    try:
        yield
    finally:
        over.set()
        path.unlink(missing_ok=True)


def _live(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        try:
            os.utime(path)
        except OSError:  # the folder is gone, which the run finds out itself at its next write
            return
