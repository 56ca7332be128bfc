"""What ranks say to each other of errors, and of what they do not have in common."""

from __future__ import annotations

from typing import Any

from distillkit.api import DistillkitError, Lost, Preempted


def portable(error: BaseException, rank: int = 0) -> DistillkitError:
    """An error that other ranks can raise; of another than the first, they say by themselves whose it is."""
    if isinstance(error, DistillkitError):
        return error
    if isinstance(error, Exception):
        text = " ".join(f"{type(error).__name__}: {error}".split())  # told in one line
        return Lost(text if rank else f"rank 0: {text}")
    return Preempted(f"rank 0 was stopped: {error or type(error).__name__}")


def told(one: Any, other: Any) -> str:
    """Say in what `one` is not `other`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return ", ".join(f"{key} {value}" for key, value in one.items() if other.get(key) != value) or "nothing else"
    if isinstance(one, list) and isinstance(other, list):
        return "; ".join(str(part) for part in one if part not in other)[:200] or f"{len(one)} of them"
    return str(one)
