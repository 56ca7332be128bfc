"""The list of a checkpoint's or result's files with their hashes: finds any change that storage or people made."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from distillkit.api.errors import InputError
from distillkit.disk import files

NAME = "manifest.json"
ANY = "result"  # in place of a checkpoint's name
OPEN = ("eval-", ".", "README")  # files of a result that come later, or that people edit
_LOST = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO)  # the file is gone or its sectors are


class Damaged(Exception):
    """The checkpoint is not what was saved; the message names the file and the hashes."""


def write(folder: Path, name: str, known: Mapping[str, Any] | None = None) -> None:
    """Hash every file of `folder` into its manifest; `name` is what the folder will be called.

    `known`: entries of files that their writers have hashed.
    """
    known = known or {}
    entries = {
        path.name: known.get(path.name) or {"sha256": files.sha256(path), "size": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    files.write_new(folder / NAME, _encode(name, entries)[0])


def check(folder: Path) -> list[str]:
    """Compare all files with the manifest -> their names. Raises Damaged if one is not as it was saved."""
    expected = _expected(folder)
    for name, digest in expected.items():
        _compare(name, digest, or_damaged(folder / name, files.sha256))
    return list(expected)


def names(folder: Path) -> list[str]:
    """Names of the files that the manifest has, unchecked. Raises ValueError where it is not as it was written."""
    try:
        return list(_expected(folder))
    except Damaged as damage:
        raise ValueError(str(damage)) from damage


def seal(folder: Path) -> None:
    """Hash the files of a result that is complete; the folder may be copied under another name."""
    entries = {
        path.name: {"sha256": files.sha256(path), "size": path.stat().st_size}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != NAME and not path.name.startswith(OPEN)
    }
    files.write_atomic(folder / NAME, _encode(ANY, entries)[0])


def vouched(path: Path) -> bool:
    """Whether a manifest beside this file of a result names it; raises InputError where it is not as it was written."""
    if not os.path.lexists(path.parent / NAME):
        return False
    try:
        expected = _expected(path.parent, ANY)
        if path.name in expected:
            _compare(path.name, expected[path.name], or_damaged(path, files.sha256))
    except Damaged as damage:
        raise InputError(f"{path} is not what the run wrote: {damage}; run it with --again, or restore it") from damage
    return path.name in expected


def listed(path: Path) -> str | None:
    """The sha256 that a manifest beside this file of a result has for it, unchecked; None where there is none."""
    try:
        return _expected(path.parent, ANY).get(path.name)
    except (Damaged, OSError):
        return None


def check_result(folder: Path) -> None:
    """Raises InputError where a file of a result is not as its manifest says; one of 0.1.0 has none."""
    if os.path.lexists(folder / NAME):
        vouched(folder / NAME)
        for name in _expected(folder, ANY):
            vouched(folder / name)


def or_damaged(path: Path, read: Callable[[Path], Any]) -> Any:
    """`read(path)`; a lost file is Damaged, any other trouble (no permission ...) says nothing about the checkpoint."""
    try:
        return read(path)
    except OSError as error:
        if error.errno in _LOST:
            raise Damaged(f"{path.name} cannot be read: {os.strerror(error.errno)}") from error
        raise


def _expected(folder: Path, name: str = "") -> dict[str, str]:
    """Read each file's digest from the manifest. Raises Damaged if that is not as it was written."""
    text = or_damaged(folder / NAME, files.read)
    try:
        found = json.loads(text)
        again, digest = _encode(found["checkpoint"], found["files"])
        expected = {name: entry["sha256"] for name, entry in found["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{NAME} is not a manifest") from error
    _compare(NAME, found.get("sha256"), digest)
    if (
        again != text
        or found["checkpoint"] != (name or folder.name)
        or any(Path(name).name != name for name in expected)
    ):
        raise Damaged(f"{NAME} was changed, or belongs to another checkpoint")
    return expected


def _encode(name: str, entries: dict[str, Any]) -> tuple[bytes, str]:
    """Write the manifest as bytes, with the digest of its own content in it."""
    content = {"checkpoint": name, "files": entries}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**content, "sha256": digest}, indent=1) + "\n").encode(), digest


def _compare(name: str, expected: object, found: str) -> None:
    if found != expected:
        raise Damaged(f"{name} has sha256 {found[:16]}, expected {str(expected)[:16]}")
