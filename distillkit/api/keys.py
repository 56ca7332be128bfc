"""What the field of a key may say beside its type, default and bounds: `field(default=..., metadata=...)`."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf
from types import MappingProxyType
from typing import Any

AS_BEFORE = "distillkit.as_before"
BITS = "distillkit.bits"
_FILE = "distillkit.file"
_INFINITE = "distillkit.infinite"
_PROGRAM = "distillkit.program"

# A key that changes where, how fast and how visibly something is computed, but no bit of it: no fingerprint has it.
NO_BITS: Mapping[str, Any] = MappingProxyType({BITS: False})

# A key that names a file or folder: a run notes what is in it, and is not reused where that has changed.
FILE: Mapping[str, Any] = MappingProxyType({_FILE: True})
PROGRAM: Mapping[str, Any] = MappingProxyType({_FILE: True, _PROGRAM: True})  # such a file that is run, as TorchScript
_FILES = ("path", "checkpoint")  # of plugins that were written before FILE

# A key of numbers of which infinity is one that means something: any other key refuses it.
INFINITE: Mapping[str, Any] = MappingProxyType({_INFINITE: True})


def added_later(as_before: Any) -> dict[str, Any]:
    """For a key that an earlier release did not have, so that the runs of that release are found again.

    `as_before` is the value with which all is computed as it was without the key, its default to begin with.
    Fingerprints leave the key out while it has that value; None is left out always.
    """
    return {AS_BEFORE: as_before}


def changes_bits(attribute: Any) -> bool:
    """May another value of the field lead to other bits?"""
    return bool(attribute.metadata.get(BITS, True))


def may_be_infinite(attribute: Any) -> bool:
    """Is infinity a value of the field with a meaning? It is where it is the default."""
    made = attribute.default
    return bool(attribute.metadata.get(_INFINITE, isinstance(made, float) and isinf(made)))


def names_file(attribute: Any) -> bool:
    """Does the field name a file or folder?"""
    return bool(attribute.metadata.get(_FILE, attribute.name in _FILES))


def is_program(attribute: Any) -> bool:
    """Does the field name a file that is run?"""
    return bool(attribute.metadata.get(_PROGRAM, False))
