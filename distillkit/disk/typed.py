"""What a file of a run says, as the type that it must have: others may have edited, damaged or forged it."""

from __future__ import annotations

import json
import tomllib
import warnings
from pathlib import Path
from typing import Any

from distillkit.api.errors import InputError
from distillkit.disk import files

NOT_FINITE = ("nan", "inf", "-inf")  # what JSON has no numbers for
LARGEST = 2**63 - 1  # of whole numbers, so that each is a float too
BOM = "\ufeff"  # some editors begin a file with it


def json_object(path: Path) -> dict[str, Any]:
    """Raises InputError for what is no JSON object; a byte order mark at its beginning does not matter.

    Warns where it has a check that says otherwise: a person may have meant to change it, a disk never does.
    """
    try:
        value = json.loads(files.read(path))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {_told(error)}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} does not hold a JSON object")
    check = value.pop(files.CHECK, None)
    if check is not None and check != files.check_of(value):
        warnings.warn(f"{path} is not as the run wrote it: it was changed or damaged", stacklevel=2)
    return value


def toml(path: Path) -> dict[str, Any]:
    """Raises InputError for what is no TOML."""
    try:
        return tomllib.loads(files.read(path).decode().removeprefix(BOM))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {_told(error)}") from error


def number(value: Any) -> float:
    """A number, or one of the words for what is not finite, as a float. Raises ValueError."""
    if type(value) is float or (type(value) is int and abs(value) <= LARGEST) or value in NOT_FINITE:
        return float(value)
    raise ValueError(f"not a number: {ascii(value)[:80]}")


def count(value: Any) -> int:
    """A whole number from 0 on. Raises ValueError."""
    if type(value) is int and 0 <= value <= LARGEST:
        return value
    raise ValueError(f"not a whole number from 0 on: {ascii(value)[:80]}")


def text(value: Any) -> str:
    """What can be shown on a terminal: a name may hold what moves its cursor."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(value))


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:160]
