"""Text as a terminal can show it: strangers' names, docstrings and messages may hold what moves its cursor."""

from __future__ import annotations

import re

# C0 without tab and newline, C1, marks that change the order of letters, line separators, halves of characters.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with a replacement character for each one that a terminal would obey or cannot encode."""
    return _OBEYED.sub("\ufffd", text)
