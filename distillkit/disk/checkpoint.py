"""Checkpoints: one folder each, safetensors and JSON only, complete or not there at all, every file hashed.

The caller holds the run's lock: one process saves and resumes a run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from distillkit.api.errors import FULL, InputError, ResourceError
from distillkit.disk import files, manifest, shards

STATE = "state.json"
RUN = "run"  # key of meta: the fingerprint of the run that saves, so that checkpoints of two cannot be mistaken
_NAME = re.compile(r"kimg-(\d{6,})\.(\d{3})")
_GROUP = re.compile(r"\w[\w.-]*")


def save(
    folder: Path,
    nimg: int,
    tensors: dict[str, Tensor],
    meta: dict[str, Any],
    keep: int,
    pinned: Collection[str] = (),
    others: Callable[[Path], dict[str, Any]] | None = None,
) -> Path:
    """Save `tensors` (any shapes; one file per name before the first "/") and `meta` (JSON values) after `nimg` images.

    `others` adds files of other ranks to the unfinished folder -> their entries in the manifest.
    Of the older checkpoints the newest `keep` (this one included) and those named in `pinned` stay.
    Raises ResourceError when the disk is full; the earlier checkpoints are then as they were.
    """
    state = _encode(meta)
    path = folder / name(nimg)
    tmp = folder / f".tmp-{path.name}"
    try:
        folder.mkdir(exist_ok=True)
        _clean(folder)
        _write(tmp, path.name, tensors, state, others)
        _make_way(path)
        os.rename(tmp, path)
        files.fsync(folder)
    except BaseException as error:
        files.remove(tmp)
        _restore(folder)
        if isinstance(error, OSError):
            raise _explain(error, path, tensors) from error
        raise
    prune(folder, keep, {path.name, *pinned})
    return path


def load_newest(
    folder: Path, device: torch.device | str, run: str = ""
) -> tuple[dict[str, Tensor], dict[str, Any], Path] | None:
    """Load tensors on `device`, meta and path of the newest undamaged checkpoint of `run`; None when there is none.

    A damaged one is set aside with a warning. Raises InputError when there are only damaged ones.
    """
    try:
        _clean(folder)
        for path in reversed(_all(folder)):
            try:
                return *_load(path, device, run), path
            except manifest.Damaged as damage:
                _set_aside(path, damage)
    except OSError as error:
        raise InputError(f"cannot read the checkpoints in {folder}: {error}") from error
    damaged = sorted(path.name for path in folder.glob("damaged-*"))
    if damaged:
        raise InputError(
            f"no undamaged checkpoint in {folder}, only {', '.join(damaged)}: remove them to start from the beginning"
        )
    return None


def load(
    path: Path, device: torch.device | str, run: str = "", only: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load tensors on `device` and meta of one checkpoint; `only`: those whose names begin with "only/".

    Raises InputError if it is damaged or gone.
    """
    try:
        return _load(path, device, run, only)
    except manifest.Damaged as damage:
        raise InputError(f"checkpoint {path} is damaged: {damage}") from damage


def read_meta(path: Path) -> dict[str, Any]:
    """Read meta of one checkpoint. Raises InputError if it is damaged or gone."""
    return load(path, "meta")[1]


def adopt(source: Path, folder: Path, run: str) -> None:
    """Take over a checkpoint of another run for the one of fingerprint `run`.

    Its tensors are never written again, so that both may have the files. Raises InputError if it is damaged or gone.
    """
    tmp, state = folder / f".tmp-{source.name}", _encode({**read_meta(source), RUN: run})
    try:
        folder.mkdir(exist_ok=True)
        _clean(folder)
        tmp.mkdir()
        for path in source.glob("*.safetensors"):
            files.linked(path, tmp / path.name)
        files.write_new(tmp / STATE, state)
        manifest.write(tmp, source.name)
        files.fsync(tmp)
        os.rename(tmp, folder / source.name)
        files.fsync(folder)
    except OSError as error:
        raise _explain(error, folder / source.name, {}) from error


def newest(folder: Path) -> Path | None:
    """Find the newest complete checkpoint in `folder`; it may still be damaged."""
    return next(reversed(_all(folder)), None)


def name(nimg: int) -> str:
    """Name the folder of a checkpoint that is saved after `nimg` images."""
    return f"kimg-{nimg // 1000:06d}.{nimg % 1000:03d}"


def nimg(path: Path) -> int:
    """Read from a checkpoint's name after how many images it was saved; -1 for any other name."""
    match = _NAME.fullmatch(path.name)
    return int(match[1] + match[2]) if match else -1


def prune(folder: Path, keep: int, wanted: Collection[str]) -> None:
    """Delete all but the newest `keep` and the `wanted` ones; a half deleted one never has a checkpoint's name."""
    outdated = [path for path in _all(folder)[: -max(keep, 1)] if path.name not in wanted]
    try:
        for path in outdated:
            os.rename(path, path.with_name(f".tmp-{path.name}"))
        for path in [*folder.glob(".tmp-*"), *folder.glob(".old-*")]:
            files.remove(path)
    except OSError as error:  # the new checkpoint is safe, so training goes on; the next save tries again
        warnings.warn(f"cannot remove old checkpoints in {folder}: {error.strerror}", stacklevel=3)


def _all(folder: Path) -> list[Path]:
    """List the complete checkpoints in `folder`, oldest first."""
    return sorted((path for path in folder.glob("kimg-*") if nimg(path) >= 0), key=nimg)


def _encode(meta: dict[str, Any]) -> bytes:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            wrong = [key for key in value if not isinstance(key, str)]
            if wrong:  # json would turn 1 into "1"
                raise TypeError(f"checkpoint meta has a key that is no string: {wrong[0]!r}")
        if isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                check(item)

    check(meta)
    return json.dumps(meta).encode()


def _write(
    tmp: Path, name: str, tensors: dict[str, Tensor], state: bytes, others: Callable[[Path], dict[str, Any]] | None
) -> None:
    tmp.mkdir()
    files.write_new(tmp / STATE, state)
    for group in sorted({key.partition("/")[0] for key in tensors}):
        if not _GROUP.fullmatch(group):
            raise ValueError(f"checkpoint tensors cannot go to a file of this name: {group!r}")
        content = {
            key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for key, tensor in tensors.items()
            if key.partition("/")[0] == group
        }
        _save_file(content, tmp / f"{group}.safetensors")
    manifest.write(tmp, name, others(tmp) if others else {})
    files.fsync(tmp)


def _save_file(content: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(content, path)
    except SafetensorError as error:  # its I/O errors carry the system's number as text only
        number = re.search(r"(?:os error |code: )(\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    files.fsync(path)


def _explain(error: OSError, path: Path, tensors: dict[str, Tensor]) -> ResourceError:
    text = f"cannot save {path}: {error.strerror or error}"
    if error.errno in FULL:
        needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) / 2**20
        free = shutil.disk_usage(path.parent).free / 2**20
        text += f"; needs {needed:.1f} MiB, {free:.1f} MiB free: make room, earlier checkpoints are intact"
    return ResourceError(text)


def _load(
    path: Path, device: torch.device | str, run: str, only: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    names = manifest.check(path)
    tensors: dict[str, Tensor] = {}
    try:
        meta = json.loads(manifest.or_damaged(path / STATE, files.read))
        pieces = shards.Pieces([path / name for name in sorted(names) if shards.is_one(name)])
        wanted = ((key, value) for key, value in pieces.whole() if only in (None, key.partition("/")[0]))
        tensors |= {key: value.to(device) for key, value in wanted}
        pieces.close()
        for name in names:
            if name.endswith(".safetensors") and not shards.is_one(name) and only in (None, name.partition(".")[0]):
                # Copied: what it gives may be a view of the mapped file.
                tensors |= {key: value.to(device, copy=True) for key, value in load_file(path / name).items()}
    except (SafetensorError, ValueError, RecursionError) as error:
        raise manifest.Damaged(str(error)) from error
    if run and meta.get(RUN, run) != run:
        raise manifest.Damaged("it was saved by another run")
    return tensors, meta


# Names: `.tmp-x` is not finished, `.old-x` makes way for a new x, `damaged-x` is kept for people to look at.


def _clean(folder: Path) -> None:
    """Remove what a killed process left."""
    _restore(folder)
    for path in [*folder.glob(".tmp-*"), *folder.glob(".old-*")]:
        files.remove(path)


def _restore(folder: Path) -> None:
    """Put a checkpoint back whose successor of the same name never arrived."""
    for old in folder.glob(".old-*"):
        path = folder / old.name.removeprefix(".old-")
        if not os.path.lexists(path):
            os.rename(old, path)


def _make_way(path: Path) -> None:
    """Move away a checkpoint of the same name: left by a run that stopped at once after a resume, or a damaged one."""
    if not os.path.lexists(path):
        return
    try:
        manifest.check(path)
    except manifest.Damaged as damage:
        _set_aside(path, damage)
    else:
        os.rename(path, path.with_name(f".old-{path.name}"))


def _set_aside(path: Path, damage: manifest.Damaged) -> None:
    target, number = path.with_name(f"damaged-{path.name}"), 1
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"damaged-{path.name}-{number}")
    os.rename(path, target)
    files.fsync(path.parent)
    warnings.warn(f"checkpoint {path.name} is damaged: {damage}; kept as {target.name}, not used", stacklevel=3)
