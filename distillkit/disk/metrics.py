"""metrics.jsonl: one JSON line per tick and per evaluation, nimg strictly increasing per kind, also after a resume.

Each line ends with its number and a check of what stands before: a changed digit or a lost line is told.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distillkit.api.errors import InputError, ResourceError
from distillkit.disk import files, system, typed

Line = tuple[bytes, dict[str, Any]]  # as it is in the file, and as a row


class MetricsLog:
    """The rows of one run; each has `what` ("tick", "evaluate") and `nimg`. Opening it changes nothing on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._run = _fingerprint(path.parent)
        rows = self._lines()
        self._last, self._rows = _last(row for _, row in rows), _next(line for line, _ in rows)

    def read(self) -> list[dict[str, Any]]:
        """Read all rows, each number a number; a torn last line (one that is being written) is left out."""
        return [row for _, row in self._lines()]

    def append(self, row: dict[str, Any]) -> None:
        """Add one row, handed to the system at once; NaN and infinities become the strings "nan", "inf", "-inf"."""
        what, nimg = row["what"], row["nimg"]
        if nimg <= self._last.get(what, -1):
            raise ValueError(f"metrics: {what} at nimg {nimg} after one at {self._last[what]}")
        owner = {"run": self._run} if self._rows == 0 and self._run else {}
        line = _line({**row, **owner, "row": self._rows})
        with self._explained():
            if self._fd is None:
                self._fd = self._open()
            _write(self._fd, line)
        self._last[what] = nimg
        self._rows += 1

    def has(self, what: str, nimg: int) -> bool:
        """Whether the last row of this kind was written after so many images."""
        return self._last.get(what) == nimg

    @property
    def logged(self) -> int:
        """How many rows were written to this file."""
        return self._rows

    def expect(self, logged: int) -> None:
        """Warn where there were more rows when a checkpoint was saved: the last ones are lost."""
        if self._rows < logged:
            warnings.warn(f"{self.path}: {logged - self._rows} of {logged} rows are lost", stacklevel=2)

    def sync(self) -> None:
        """Force the rows to the disk; called with each checkpoint, so that a resume finds every row before it."""
        if self._fd is not None:
            with self._explained():
                os.fsync(self._fd)

    def truncate(self, nimg: int) -> None:
        """Drop a torn last line and the rows after `nimg` images, which a resumed run makes again."""
        self.close()
        if not self.path.exists():
            return
        kept = [(line, row) for line, row in self._lines() if row["nimg"] <= nimg]
        with self._explained():
            files.write_atomic(self.path, b"".join(line for line, _ in kept))
        self._last, self._rows = _last(row for _, row in kept), _next(line for line, _ in kept)

    def close(self) -> None:
        """Close the file; the next row opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ResourceError(f"cannot write {self.path}: {error.strerror}") from error

    def _open(self) -> int:
        fd = system.opened(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        files.fsync(self.path.parent)
        os.ftruncate(fd, files.read(self.path).rfind(b"\n") + 1)  # nothing may follow a torn line
        return fd

    def _lines(self) -> list[Line]:
        if not self.path.exists():
            return []
        try:
            lines = files.read(self.path).splitlines(keepends=True)
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        parsed = [(line, _parse(line)) for line in lines]
        for number, (line, row) in enumerate(parsed, 1):
            if row is None and line.endswith(b"\n"):
                warnings.warn(f"{self.path}:{number}: not a row of metrics, left out", stacklevel=3)
        good = self._ours([(line, row) for line, row in parsed if row is not None])
        numbers = [n for line, _ in good if (n := _number(line)) is not None]
        if lost := sorted({*range(max(numbers, default=-1) + 1)} - {*numbers}):
            warnings.warn(f"{self.path}: {len(lost)} rows are lost, the first is number {lost[0]}", stacklevel=3)
        return good

    def _ours(self, rows: list[Line]) -> list[Line]:
        """Rows that have numbers in their order, each once. Raises InputError for those of another run."""
        if any(row.pop("run", self._run) != self._run for _, row in rows) and self._run:
            raise InputError(f"{self.path} is of another run than the one whose folder it is in")
        numbers = [_number(line) for line, _ in rows]
        known = {number: row for number, row in zip(numbers, rows, strict=True) if number is not None}
        order = [number for number in numbers if number is not None]
        if order == sorted(known):
            return rows
        warnings.warn(f"{self.path}: rows are not in their order, or stand there twice", stacklevel=3)
        return [row for number, row in zip(numbers, rows, strict=True) if number is None] + [
            known[number] for number in sorted(known)
        ]


def _fingerprint(run: Path) -> str:
    """Of the run whose folder this is; "": nothing says so."""
    try:
        return str(json.loads(files.read(run / "run.json"))["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # whoever opens the run tells of it
        return ""


def _line(row: dict[str, Any]) -> bytes:
    """A line with the check of its row as the last key."""
    text = json.dumps(files.finite(row), allow_nan=False)
    return f'{text[:-1]}, "check": "{_check(text)}"}}\n'.encode()


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _intact(line: bytes) -> bool:
    """Whether a line with a check is what was written."""
    text, _, check = line.decode().rpartition(', "check": "')
    return check == f'{_check(text + "}")}"}}\n'


def _number(line: bytes) -> int | None:
    found = re.search(rb', "row": (\d{1,15}), "check": "\w+"}\n$', line)
    return int(found[1]) if found else None


def _next(lines: Iterable[bytes]) -> int:
    """The number of the row to come."""
    return max((number for line in lines if (number := _number(line)) is not None), default=-1) + 1


def _parse(line: bytes) -> dict[str, Any] | None:
    """Parse a whole line, "nan", "inf" and "-inf" as floats again; None for what is no row."""
    try:
        row = {key: _value(key, value) for key, value in json.loads(line).items()}
        if {"row", "check"} & row.keys() and not _intact(line):  # those of distillkit 0.1.0 have neither
            return None
        for key in ("row", "check"):
            row.pop(key, None)
        typed.count(row["nimg"])
        return row if isinstance(row["what"], str) and line.endswith(b"\n") else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _value(key: str, value: Any) -> Any:
    """What is a number, as a metric "component/name" must be, or is none. Raises ValueError."""
    if "/" in key or type(value) in (int, float) or value in typed.NOT_FINITE:
        number = typed.number(value)
        return value if type(value) is int else number
    return value


def _last(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    return {row["what"]: row["nimg"] for row in rows}


def _write(fd: int, line: bytes) -> None:
    """Write the whole line or, when the disk is full, nothing of it."""
    size = os.fstat(fd).st_size
    try:
        if os.write(fd, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        os.ftruncate(fd, size)
        raise
