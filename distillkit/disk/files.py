"""Writes that survive a crash: fsynced, renamed into place, never through a planted link."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from distillkit.api.errors import FULL, UsageError
from distillkit.disk import system

CHECK = "check"


def open_to_read(path: Path) -> BufferedReader:
    """Open a file for reading; refuses a link, does not wait for a pipe."""
    return open(path, "rb", opener=lambda name, flags: system.opened(name, flags | system.NONBLOCK))


def read(path: Path) -> bytes:
    """Read the bytes of a file that is no link."""
    with open_to_read(path) as file:
        return file.read()


def fsync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    system.forced(path)


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open_to_read(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_new(path: Path, data: bytes) -> None:
    """Write a file that must not exist, and fsync it."""
    with open(path, "xb", opener=system.opened) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file: a reader, also one after a crash, sees the old bytes or the new ones."""
    tmp = path.with_name(f".tmp-{path.name}")
    tmp.unlink(missing_ok=True)
    try:
        with told(path):
            write_new(tmp, data)
            system.replaced(tmp, path)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; what is not finite becomes a word, since JSON has no numbers for it."""
    write_atomic(path, (json.dumps(finite(value), indent=1, allow_nan=False) + "\n").encode())


def write_checked(path: Path, value: dict[str, Any]) -> None:
    """Replace a JSON file by `value` with a check of it, which `typed.json_object` compares and takes out again."""
    write_json(path, {**value, CHECK: check_of(value)})


def check_of(value: dict[str, Any]) -> str:
    """12 hex digits of what a JSON object says, in whatever form it is written."""
    text = json.dumps(finite(value), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def finite(value: Any) -> Any:
    """Replace NaN and infinities in `value` by the strings "nan", "inf", "-inf", which any JSON reader takes."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    return value


def floats(value: Any) -> Any:
    """What `finite` was given: its words as numbers again."""
    if isinstance(value, dict):
        return {key: floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [floats(item) for item in value]
    return float(value) if isinstance(value, str) and value in ("nan", "inf", "-inf") else value


def linked(source: Path, target: Path) -> None:
    """Give a file that is never written again a second name, or copy it where the disk is another."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def remove(path: Path) -> None:
    """Delete a folder, a file or a link (never what the link points to)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A path of the same name to write to and rename from, in a folder beside `out` that goes at the end.

    Raises UsageError where nothing can be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with told(out):
            folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=out.parent))
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UsageError(f"{out}: cannot be written there: {error.strerror}") from error
    try:
        with told(out):
            yield folder / out.name
    finally:
        remove(folder)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Inside, an error of a full disk or quota names this file: that of a write has no name, others a temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            error.filename = str(path)
        raise
