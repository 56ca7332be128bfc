"""All that a command prints goes out here: nothing that a terminal would obey is let through."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, TextIO, cast

from distillkit.api.printable import printable

# What tables are made of, for those who have no such letters.
INSTEAD = str.maketrans(
    {
        "\N{UPWARDS ARROW}": "^", "\N{DOWNWARDS ARROW}": "v", "\N{BOX DRAWINGS LIGHT HORIZONTAL}": "-",
        "\N{PLUS-MINUS SIGN}": "+-", "\N{GREATER-THAN OR EQUAL TO}": ">=", "\N{LESS-THAN OR EQUAL TO}": "<=",
        "\N{MIDDLE DOT}": ".", "\N{BOX DRAWINGS HEAVY HORIZONTAL}": "-",
    }
)  # fmt: skip


def known(text: str, encoding: str | None) -> str:
    """The text in letters that an encoding has: files are in a code page on Windows, and a C locale has ASCII."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(INSTEAD).encode(encoding, errors="replace").decode(encoding)
    return text


class Plain:
    """A stream that writes what is printable alone."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(known(printable(text), getattr(self.stream, "encoding", None)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def forgive() -> None:
    """Let streams that cannot encode a character, such as an arrow in latin-1, write a question mark instead."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


@contextmanager
def plain_streams() -> Iterator[None]:
    """Inside, whatever is printed is Plain: lines, argparse's errors, warnings, what libraries say."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, stream and Plain(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
