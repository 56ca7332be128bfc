"""Lines about data that are not wrong but deserve to be known: warnings, which every command shows once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

SHOWN = 8  # names in a line
MANY = 1000  # files of a folder that are looked at


def tell(where: str, text: str) -> None:
    warnings.warn(f"{where}: {text}", stacklevel=3)


def counted(n: int, what: str = "image", plural: str = "") -> str:
    """1 image, 2 images."""
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


def some(names: Sequence[object]) -> str:
    """The first few of them on one line of ASCII, and how many more."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(ascii(str(name)[:80])[1:-1] for name in names[:SHOWN]) + more


def near(path: Path) -> str:
    """What may be meant by a path where nothing is: a name beside it, or as far as there are folders."""
    if not path.parent.is_dir():
        there = next((one for one in path.parents if one.is_dir()), Path())
        return f"; there is no folder {path.parent.relative_to(there).parts[0]} in {there}"
    names = [one.name for one in islice(path.parent.iterdir(), MANY)]
    found = get_close_matches(path.name, names, n=1)
    return f"; did you mean {some(found)}?" if found and found[0] != path.name else ""
