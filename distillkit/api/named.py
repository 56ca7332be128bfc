"""What is told of numbers by their names, or by patterns of them."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase


def told_of(name: str, told: Mapping[str, str]) -> str | None:
    """What the first name or pattern that fits says, such as "drift_*"; None: nothing."""
    return next((text for pattern, text in told.items() if fnmatchcase(name, pattern)), None)
