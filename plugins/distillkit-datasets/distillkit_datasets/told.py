"""Lines about data that are not wrong but deserve to be known: warnings, which every command shows once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

SHOWN = 8  # names in a line


def tell(where: str, text: str) -> None:
    warnings.warn(f"{where}: {text}", stacklevel=3)


def counted(n: int, what: str = "image", plural: str = "") -> str:
    """1 image, 2 images."""
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


def some(names: Sequence[object]) -> str:
    """The first few of them on one line of ASCII, and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(ascii(str(name)[:80])[1:-1] for name in names[:SHOWN]) + more
