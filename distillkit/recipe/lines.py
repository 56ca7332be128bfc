"""Line numbers of the keys of a TOML text, which `tomllib` does not give, and limits that it does not have."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from attrs import frozen

from distillkit.recipe.problem import Key

MAX_KEY = 256  # characters of one key; a 40 KB dotted key takes tomllib 5 s
MAX_DEPTH = 32  # tomllib recurses

_TOKEN = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}|\'\'\'(?:[^']|'{1,2}(?!'))*'{3,5}'''
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[A-Za-z0-9_+:-]+|[^ \t\r]""",
    re.DOTALL,
)


@frozen
class _Token:
    text: str
    line: int

    @property
    def names(self) -> bool:
        """May it be part of a key?"""
        return self.text[0] in "\"'" or self.text[0] not in "[]{}=,\n.#"


class TooMuch(ValueError):
    """A text that tomllib should not be given."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message, self.line = message, line


def _tokens(text: str) -> Iterator[_Token]:
    line, at = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        if match[0][0] != "#":
            yield _Token(match[0], line)


def check_limits(text: str) -> None:
    """Raises TooMuch for brackets nested deeper than MAX_DEPTH and dotted keys longer than MAX_KEY."""
    depth = size = dots = 0
    for token in _tokens(text):
        if token.text == "." or token.names:
            size, dots = size + len(token.text), dots + (token.text == ".")
        else:
            size = dots = 0
            depth += (token.text in "[{") - (token.text in "]}")
        if depth > MAX_DEPTH or dots > MAX_DEPTH:
            raise TooMuch(f"nested deeper than {MAX_DEPTH}", token.line)
        if dots and size > MAX_KEY:
            raise TooMuch(f"a key is longer than {MAX_KEY} characters", token.line)


def key_lines(text: str) -> dict[Key, int]:
    """Line of every table and key of a valid TOML text; what lies inside a value has the line of its key."""
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}  # entries so far of each array of tables
    table: Key = ()
    for statement in _statements(text):
        line = statement[0].line
        brackets = 2 if [t.text for t in statement[:2]] == ["[", "["] else int(statement[0].text == "[")
        parts = _parts(statement[brackets:])
        if not brackets:
            _note(lines, table, parts, line, counts)
        elif brackets == 1:
            table = _note(lines, (), parts, line, counts)
        else:
            array = _note(lines, _note(lines, (), parts[:-1], line, counts), parts[-1:], line, {})
            counts[array] = counts.get(array, 0) + 1
            table = (*array, counts[array] - 1)
            lines[table] = line
    return lines


def _statements(text: str) -> Iterator[list[_Token]]:
    statement: list[_Token] = []
    depth = 0
    for token in _tokens(text):
        depth += (token.text in "[{") - (token.text in "]}")
        if token.text != "\n":
            statement.append(token)
        elif statement and depth == 0:
            yield statement
            statement = []
    if statement:
        yield statement


def _parts(tokens: list[_Token]) -> list[str]:
    parts = []
    for token in tokens:
        if token.text in "]=":
            break
        if token.text != ".":
            quoted = token.text[0] in "\"'"
            parts.append(tomllib.loads(f"k = {token.text}")["k"] if quoted else token.text)
    return parts


def _note(lines: dict[Key, int], at: Key, parts: list[str], line: int, counts: dict[Key, int]) -> Key:
    """Note the line of each new path on the way; a name of an array of tables means its last entry."""
    for part in parts:
        at = (*at, part)
        lines.setdefault(at, line)
        if at in counts:
            at = (*at, counts[at] - 1)
    return at
