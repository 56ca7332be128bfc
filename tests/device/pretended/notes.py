"""What happened on the pretended device, and on whose behalf."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

OURS = str(Path(__file__).parent)
TORCH = f"{Path('site-packages') / 'torch'}/"


class Note(NamedTuple):
    """Something that a GPU's rules allow and that costs: `kind`, the operation, "file.py:function"."""

    kind: str  # "wait": the host waits for the device; "copy": it waits for numbers on their way to it; "default": ...
    operation: str
    place: str


seen: Counter[Note] = Counter()


class Refused(RuntimeError):
    """What a GPU refuses."""


def note(kind: str, operation: object) -> None:
    seen[Note(kind, str(operation), place())] += 1


def place() -> str:
    """ "file.py:function" of the innermost frame that is neither torch's nor of this folder."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if TORCH not in file and not file.startswith(OURS):
            return f"{Path(file).name}:{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "(a thread of autograd)"


@contextmanager
def noted() -> Iterator[list[Note]]:
    """Inside, a list of what is noted."""
    before, found = seen.copy(), list[Note]()
    try:
        yield found
    finally:
        found += sorted(seen - before)
