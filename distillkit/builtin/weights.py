"""A state dict in a file, for a network that is there: every name and shape must be right."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from distillkit import weights
from distillkit.api import InputError

SHOWN = 4  # names in a message


def load(module: Any, path: Path, name: str) -> None:
    """Put the file's tensors into the module, which is of network `name`. Raises InputError of all that is wrong."""
    found, wanted = weights.tensors(path, weights.averaged(weights.read(path))), module.state_dict()
    shared = found.keys() & wanted.keys()
    wrong = {
        "missing": wanted.keys() - found.keys(), "left over": found.keys() - wanted.keys(),
        "of another shape": {
            f"{key} {list(found[key].shape)}, not {list(wanted[key].shape)}"
            for key in shared if found[key].shape != wanted[key].shape
        },
    }  # fmt: skip
    if any(wrong.values()):
        told = "; ".join(f"{what}: {_some(names)}" for what, names in wrong.items() if names)
        raise InputError(f"{path} is no state dict of network {name!r}: {told}{_prefixed(found, wanted)}")
    if sick := next((key for key in wanted if not found[key].isfinite().all()), None):
        raise InputError(f"{path}: {sick} holds numbers that are not finite")
    if not any(tensor.is_meta for tensor in wanted.values()):  # where memory is counted there is nothing to fill
        module.load_state_dict(found)


def _some(names: Collection[str]) -> str:
    listed = sorted(names)
    more = f" ... ({len(listed)} in all)" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def _prefixed(found: Collection[str], wanted: Collection[str]) -> str:
    """What all names of the file begin with, where they would fit without it."""
    prefix = next(iter(sorted(found)), "").partition(".")[0] + "."
    fits = {key for key in found if key.startswith(prefix)} == {prefix + key for key in wanted}
    return f"; its names would fit without their {prefix!r}" if fits else ""
