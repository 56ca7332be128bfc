"""Metrics as lines of a table: which way is better, the teacher's, the student's, and those of real images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from distillkit.disk.results import Row
from distillkit.show import formats

GAP = "  "
REAL = "real v real"
ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}
MISSING = "-"
SHORTEST = 12  # characters of a metric's name


@frozen
class Heads:
    """What the columns are called."""

    teacher: str = "teacher"
    student: str = "student"
    real: str = REAL


def score_lines(
    rows: Sequence[Row], better: Mapping[str, str], heads: Heads, width: int, *, sd: bool = True
) -> list[str]:
    """The header and a line for each metric, of `width` characters at most; `sd`: spreads of all columns.

    The student has its spread in any case. Names give way to numbers: the longest are cut.
    """
    columns = [
        [heads.teacher, *(_value(row.teacher, row.teacher_sd if sd else None) for row in rows)],
        [heads.student, *(_value(row.student, row.student_sd) for row in rows)],
        [heads.real, *(_value(row.floor, row.floor_sd if sd else None) for row in rows)],
    ]
    columns = [column for column in columns if column[0] == heads.student or set(column[1:]) != {MISSING}]
    widths = [max(map(len, column)) for column in columns]
    left = width - sum(widths) - len(GAP) * len(widths) - 2
    longest = max(SHORTEST, min(left, max(len(row.name) for row in rows)))
    names = ["metric".ljust(longest + 2), *(_named(row.name, better, longest) for row in rows)]
    return [
        GAP.join([name, *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))]).rstrip()
        for name, *cells in zip(names, *columns, strict=True)
    ]


def _named(name: str, better: Mapping[str, str], width: int) -> str:
    return f"{formats.short(name, width).ljust(width)} {ARROWS.get(better.get(name, ''), ' ')}"


def _value(value: float | None, sd: float | None) -> str:
    return MISSING if value is None else formats.measured(value, sd)
