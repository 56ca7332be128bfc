"""Pairs of noise and the teacher's image of it: made once, kept as safetensors shards, found again by fingerprint."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from distillkit import noise
from distillkit.api import Choice, Rebuildable, Sample, State

SHARD = 512  # pairs per file
DIGEST = "sha256"  # of a shard's tensors, in its header
WAITS = logging.getLogger("distillkit.dmd")
VERSION = 1  # raise it when anything below changes what is made


class Pairs:
    """`pairs[index]` -> z, y [n,C,H,W] and labels [n,L] of the first `count` pairs."""

    def __init__(self, state: State, sampler: Choice[Sample], count: int, seed: int) -> None:
        """Make the shards that are missing or, with a warning, damaged."""
        if state.device.type == "meta":  # shapes alone are asked for, as by `distillkit plan`
            self.shards = [blank(state)] * -(-count // SHARD)
            return
        self.folder = state.cache / "pairs" / fingerprint(state, sampler, seed)
        self.shards = []
        n, told = min(SHARD, count), False
        for first in range(0, count, SHARD):
            path = self.folder / f"{first:08d}{'' if n == SHARD else f'-{n}'}.safetensors"
            # The first rank alone knows a disk; all of them hold the pairs.
            found = state.share(partial(stored, path, shapes(state, n)))
            if found is None:
                if not told:
                    WAITS.info("drawing pairs of the teacher, %s of noise and image: once, in %s", count, self.folder)
                    told = True
                found = make(state, sampler, first, n, seed)
                state.share(partial(write, path, found))
            self.shards.append(found)

    def __getitem__(self, index: Tensor) -> dict[str, Tensor]:
        """Rows of an int64 index [n]."""
        rows = [{name: t[i % SHARD] for name, t in self.shards[i // SHARD].items()} for i in index.tolist()]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def blank(state: State) -> dict[str, Tensor]:
    """A shard without content."""
    sizes = {"z": state.dataset.shape, "y": state.dataset.shape, "labels": (state.dataset.label_dim,)}
    return {name: torch.empty(SHARD, *size, device=state.device) for name, size in sizes.items() if size != (0,)}


def fingerprint(state: State, sampler: Choice[Sample], seed: int) -> str:
    """Of all that shapes a pair: the teacher's weights, the sampler, the seed, the shape."""
    assert state.teacher is not None, "`regression` asks for one"
    network = state.teacher.network
    about: dict[str, Any] = {
        "version": VERSION, "sampler": sampler.name, "config": attrs.asdict(sampler.config), "seed": seed,
        "shape": state.dataset.shape, "labels": state.dataset.label_dim, "dtype": str(state.dtype),
        "teacher": network.card if isinstance(network, Rebuildable) else repr(state.teacher.config),
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    for name, tensor in sorted(network.state_dict().items() if network is not None else ()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


@torch.no_grad()
def make(state: State, sampler: Choice[Sample], first: int, n: int, seed: int) -> dict[str, Tensor]:
    """Pairs first ... first + n - 1; z and labels do not depend on the device, classes are uniform."""
    z = noise.rows("randn", seed, "pairs/z", first, n, state.dataset.shape)
    pairs = {"z": z}
    if state.dataset.label_dim:
        u = noise.rows("rand", seed, "pairs/labels", first, n, ())
        pairs["labels"] = torch.eye(state.dataset.label_dim)[(u * state.dataset.label_dim).long()]
    part: Any = sampler.build()
    chunks = [z[:0]]
    passes = range(0, n, state.micro_batch)
    with state.generating(state.teacher_score):
        for i in passes[state.rows(len(passes))]:  # each rank makes its share
            rows = slice(i, i + state.micro_batch)
            given = {name: t[rows].to(state.device, state.dtype) for name, t in pairs.items()}
            chunks.append(part.sample(state=state, z=given["z"], labels=given.get("labels")).float().cpu())
    return {**pairs, "y": state.gather(torch.cat(chunks))}


def write(path: Path, pairs: dict[str, Tensor]) -> None:
    """All or nothing, also when the run is killed; what is in the way is damaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_suffix(f".{os.getpid()}.tmp")
    tmp.write_bytes(safetensors.torch.save(pairs, metadata={DIGEST: digest(path, pairs)}))
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(tmp, path)


def shapes(state: State, n: int) -> dict[str, list[int]]:
    """Of the tensors of a shard of `n` pairs."""
    labels = {"labels": [n, state.dataset.label_dim]} if state.dataset.label_dim else {}
    return {"z": [n, *state.dataset.shape], "y": [n, *state.dataset.shape], **labels}


def stored(path: Path, wanted: dict[str, list[int]]) -> dict[str, Tensor] | None:
    """The shard of a file; None where it is to be made."""
    return safetensors.torch.load_file(path) if sound(path, wanted) else None


def sound(path: Path, wanted: dict[str, list[int]]) -> bool:
    """Whether a shard is there and as it was made; those of 0.1.0 have no digest that could say so."""
    if not os.path.lexists(path):
        return False
    try:
        with safetensors.safe_open(path, "pt") as file:
            noted = (file.metadata() or {}).get(DIGEST)
            pairs = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if {name: list(t.shape) for name, t in pairs.items()} == wanted and noted in (None, digest(path, pairs)):
            return True
        reason = "its numbers are not those that were made"
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error)
    warnings.warn(f"{path}: damaged ({reason}); made again", stacklevel=2)
    return False


def digest(path: Path, pairs: dict[str, Tensor]) -> str:
    """sha256 of the shard's place among all, and of names, types, shapes and bits."""
    digest = hashlib.sha256(f"{path.parent.name}/{path.name}\n".encode())
    for name, tensor in sorted(pairs.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
