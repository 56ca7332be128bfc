"""All images of a set of shards: names, places and labels, made once and kept, for reading headers takes its time."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from attrs import frozen

from distillkit.api import InputError
from distillkit_datasets.images import is_image, is_other_image, suffix
from distillkit_datasets.labels import WIDEST
from distillkit_datasets.shards import Shard
from distillkit_datasets.tar_index import Member, members
from distillkit_datasets.zipsafe import ENTRIES, ENTRY_BYTES, one_line

FORM = 1  # of what is kept; raised when it changes
TEXT_BYTES = 1 << 20  # of a member that holds a label
DIGEST = 32  # bytes before the arrays
UNKNOWN = -1


@frozen
class Index:
    """Images as "shard.tar/name", sorted; arrays int64 [N]: shard, place in it, bytes, class or -1."""

    names: list[str]
    rows: np.ndarray  # int64 [4,N]


def index(shards: Sequence[Shard], label: str, cache: Path | None) -> Index:
    """From the cache, where that has one of these very shards, else by reading all headers. Raises InputError."""
    key = hashlib.sha256(json.dumps([FORM, label, [[s.where, s.stamp] for s in shards]]).encode()).hexdigest()
    path = None if cache is None else cache / f"shards-{key[:32]}.index"
    if path is not None and (kept := load(path)) is not None:
        return kept
    made = read(shards, label)
    if path is not None:
        save(path, made)
    return made


def read(shards: Sequence[Shard], label: str) -> Index:
    """By the headers of all shards. Raises InputError."""
    found = sorted(
        (f"{shard.name}/{name}", (i, *place)) for i, shard in enumerate(shards) for name, place in _of(shard, label)
    )
    if len(found) > ENTRIES:
        raise InputError(f"{len(found)} images, at most {ENTRIES}")
    return Index([name for name, _ in found], np.array([row for _, row in found], np.int64).reshape(-1, 4).T.copy())


def _of(shard: Shard, label: str) -> list[tuple[str, tuple[int, int, int]]]:
    """Name, and place, bytes and class, of each image of a shard; its class is another member of the same key."""
    images, classes, seen = dict[str, Member](), dict[str, int](), set[str]()
    told_by = ".cls" if label == "cls" else ".json"
    for member in members(shard):
        if member.name in seen or len(seen) >= ENTRIES:
            raise InputError(f"{shard.where}: member {member.name[:80]!a} occurs twice, or is one of too many")
        seen.add(member.name)
        if is_other_image(member.name):
            raise InputError(f"{shard.where}: {member.name}: images are PNG, JPEG or WebP, not {suffix(member.name)}")
        key, kind = _parts(member.name)
        if is_image(member.name):
            if key in images:
                raise InputError(f"{shard.where}: two images of one key, {images[key].name!a} and {member.name!a}")
            if member.size > ENTRY_BYTES:
                raise InputError(f"{shard.where}: {member.name!a}: {member.size} bytes, at most {ENTRY_BYTES}")
            images[key] = member
        elif kind == told_by:
            classes[key] = _class(shard, member, label)
    return [(m.name, (m.offset, m.size, classes.get(key, UNKNOWN))) for key, m in images.items()]


def _parts(name: str) -> tuple[str, str]:
    """A name up to the first dot after its folder, and the rest: what has one key belongs together."""
    folder, _, base = name.rpartition("/")
    stem, dot, kind = base.partition(".")
    return f"{folder}/{stem}", dot + kind.lower()


def _class(shard: Shard, member: Member, label: str) -> int:
    """The class that a member tells. Raises InputError."""
    text = shard.read(member.offset, min(member.size, TEXT_BYTES + 1))
    try:
        found = int(text) if label == "cls" and len(text) < 32 else json.loads(text)[label]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{shard.where}: {member.name!a}: no class there ({one_line(repr(error))})") from error
    if type(found) is not int or not 0 <= found < WIDEST:
        raise InputError(f"{shard.where}: {member.name!a}: {one_line(found)!a} is no class from 0 to {WIDEST - 1}")
    return found


def save(path: Path, index: Index) -> None:
    """Keep it, behind its own digest; where nothing can be written it is made again another time."""
    names = np.frombuffer("\n".join(index.names).encode(), np.uint8)
    np.savez(file := BytesIO(), names=names, rows=index.rows)
    data = file.getvalue()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as written:
            written.write(hashlib.sha256(data).digest() + data)
        os.replace(written.name, path)


def load(path: Path) -> Index | None:
    """What was kept; None where there is nothing, or something damaged, which is then made again."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data[DIGEST:]).digest() != data[:DIGEST]:
        return None
    with np.load(BytesIO(data[DIGEST:]), allow_pickle=False) as arrays:
        names = arrays["names"].tobytes().decode().split("\n") if len(arrays["names"]) else []
        return Index(names, arrays["rows"])
