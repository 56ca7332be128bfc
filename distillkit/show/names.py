"""Names of metrics as people say them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

WORDS = {"fd": "FD", "sfd": "sFD", "fid": "FID", "kid": "KID", "sw2": "SW2", "inf": "at infinity", "test": "held out"}

WHOLE = {"on_mode": "on-mode share"}  # after "on", a word of its own


def short(metrics: Iterable[str]) -> dict[str, str]:
    """ "frechet/fd_test" -> "FD held out"; the whole name where two components have a metric of that name."""
    metrics = list(metrics)
    ends = {name: name.partition("/")[2] or name for name in metrics}
    often = Counter(ends.values())
    return {name: said(end) if often[end] == 1 else name for name, end in ends.items()}


def said(end: str) -> str:
    """The words of a name without its component."""
    return WHOLE.get(end) or " ".join(WORDS.get(word, word) for word in end.split("_"))


def listed(names: Sequence[str], most: int = 3) -> str:
    """ "a, b and c", or "a, b, c and 2 more"."""
    if len(names) > most + 1:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
