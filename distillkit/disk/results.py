"""Final numbers side by side: a metric `m`, its floor `m_floor` (real against real) and its spread `m_sd`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

FILE = "result/metrics.json"
SUFFIXES = ("_floor", "_sd")


@frozen
class Row:
    """One metric of teacher and student; None: not measured."""

    name: str
    teacher: float | None
    teacher_sd: float | None
    student: float | None
    student_sd: float | None
    floor: float | None


@frozen(kw_only=True)
class Scores:
    """What result/metrics.json holds: metrics of the student and, if it was evaluated, of its teacher."""

    student: dict[str, float]
    nfe: int | None = None  # network calls per image of the student
    teacher: dict[str, float] = field(factory=dict)
    teacher_nfe: int | None = None
    protocol: dict[str, dict[str, str]] = field(factory=dict)  # facts behind the numbers, by evaluate component

    def rows(self) -> list[Row]:
        return table(self.student, self.teacher)


def table(student: Mapping[str, float], teacher: Mapping[str, float] | None = None) -> list[Row]:
    """One row per metric in the order measured; floors and spreads are columns, not rows."""
    teacher = teacher or {}
    names = [name for name in {**student, **teacher} if not _belongs(name, {**student, **teacher})]
    return [
        Row(
            name, teacher.get(name), teacher.get(name + "_sd"), student.get(name), student.get(name + "_sd"),
            student.get(name + "_floor", teacher.get(name + "_floor")),
        )
        for name in names
    ]  # fmt: skip


def _belongs(name: str, metrics: Mapping[str, float]) -> bool:
    return any(name.endswith(suffix) and name.removesuffix(suffix) in metrics for suffix in SUFFIXES)


def read(run_dir: Path, rows: list[dict[str, Any]]) -> Scores:
    """The scores of a run; of one without a result, those of its last evaluation in `rows` of metrics.jsonl."""
    path = run_dir / FILE
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        teacher = found.get("teacher") or {}
        return Scores(
            student=_floats(found["metrics"]), nfe=found.get("nfe"),
            teacher=_floats(teacher.get("metrics", {})), teacher_nfe=teacher.get("nfe"),
            protocol=found.get("protocol", {}),
        )  # fmt: skip
    evaluated = [row for row in rows if row["what"] == "evaluate"]
    return Scores(student=_floats({k: v for k, v in evaluated[-1].items() if "/" in k} if evaluated else {}))


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
