"""Checkpoints of networks in pieces: each rank writes, and reads, its own rows of every tensor."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from distillkit.api import InputError, ResourceError, UsageError
from distillkit.disk import checkpoint, manifest, shards
from distillkit.train import snapshot
from distillkit.train.ranks import pieces
from distillkit.train.state import State


def words(state: State) -> dict[str, Callable[..., Any]]:
    """By word, what a rank does when the first one says it."""
    return {
        "see": lambda path: _see(state, path), "write": lambda folder: _write(state, folder),
        "read": lambda path: _read(state, path),
    }  # fmt: skip


# On the first rank, while it leads.


def seen(state: State, folder: Path) -> None:
    """Raises UsageError where a rank does not see the run's folder: its pieces could not be saved there."""
    mark = folder / ".seen-by-all"
    mark.touch()
    try:
        with state.ranks.undisturbed(), state.ranks.asked("see", path=str(mark.absolute())):
            _see(state, str(mark.absolute()))
    finally:
        mark.unlink(missing_ok=True)


def written(state: State, folder: Path) -> dict[str, Any]:
    """Let all ranks write their pieces into an unfinished checkpoint -> entries of the manifest. Raises theirs."""
    with state.ranks.undisturbed(), state.ranks.asked("write", folder=str(folder.absolute())):
        found = _write(state, str(folder.absolute()))
    entries: dict[str, Any] = {}
    for rank, (error, entry) in enumerate(found):
        if error:
            raise ResourceError(f"rank {rank}: {error}")
        entries |= entry
    return entries


def restored(state: State, path: Path) -> None:
    """Put the state back on all ranks."""
    with state.ranks.undisturbed(), state.ranks.asked("read", path=str(path.absolute())):
        _read(state, str(path.absolute()))


# On every rank.


def _see(state: State, path: str) -> None:
    found = state.ranks.those_of_all((socket.gethostname(), Path(path).exists()))
    for rank, (host, sees) in enumerate(found):
        if not sees:
            raise UsageError(
                f"--shard: rank {rank} ({host}) does not see {Path(path).parent}, where each rank saves its pieces: "
                "give --runs a folder that all share"
            )


def _write(state: State, folder: str) -> list[tuple[str, dict[str, Any]]]:
    own: dict[str, shards.Piece] = {}
    entry: dict[str, Any] = {}
    for key, tensor in snapshot.capture(state)[0].items():
        if pieces.cut(tensor):
            own[key] = pieces.local(tensor), tensor.shape
    error, ranks = "", state.ranks
    if ranks.rank < ranks.shards:  # the others have the same pieces
        name = shards.name(ranks.rank, ranks.shards)
        try:
            entry[name] = shards.write(Path(folder) / name, own)
        except (OSError, SafetensorError) as failure:
            error = f"cannot save {name}: {failure}"
    return ranks.those_of_all((error, entry))


def _read(state: State, path: str) -> None:
    snapshot.restore(state, *state.ranks.together(partial(_own, state, Path(path))))


def _own(state: State, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The rows of this rank, and what is whole. Raises InputError."""
    cuts = snapshot.cuts(state)

    def take(key: str) -> tuple[int, int] | None:
        like = cuts(key)
        return pieces.span(like) if like is not None and pieces.cut(like) else None

    try:
        meta = json.loads((path / checkpoint.STATE).read_text(encoding="utf-8"))
        found = shards.read(path, manifest.names(path), take)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"checkpoint {path} cannot be read: {error}") from error
    tensors: dict[str, Tensor] = {}
    for key, rows in found.items():
        like = cuts(key)
        tensors[key] = rows.to(state.device) if like is None else pieces.like(rows.to(state.device), like)
    return tensors, meta
