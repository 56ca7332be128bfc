"""How runs ended: result/metrics.json, and a table of it.

A metric `m` has a spread `m_sd` and, of real images in the place of generated ones, a floor `m_floor` or, where more is
better, a ceiling `m_ceiling`, which have spreads too.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from distillkit.api.errors import InputError
from distillkit.disk import alike, files, manifest, typed
from distillkit.disk.rundir import RunDir, check_maker

FILE = "result/metrics.json"
REAL = ("_floor", "_ceiling")
SUFFIXES = (*REAL, "_sd")


@frozen
class Row:
    """One metric of teacher and student; None: not measured."""

    name: str
    teacher: float | None
    teacher_sd: float | None
    student: float | None
    student_sd: float | None
    floor: float | None  # of real images; where more is better, this is a ceiling
    floor_sd: float | None


@frozen(kw_only=True)
class Scores:
    """What result/metrics.json holds: metrics of the student and, if it was evaluated, of its teacher."""

    student: dict[str, float]
    nfe: int | None = None  # network calls per image of the student
    nimg: int | None = None  # images that the student has seen
    seconds: float = 0.0  # of training
    teacher: dict[str, float] = field(factory=dict)
    teacher_nfe: int | None = None
    teacher_protocol: dict[str, dict[str, str]] = field(factory=dict)  # facts behind the teacher's numbers
    last: dict[str, float] | None = None  # metrics of the last average, where the student is a better one
    better: dict[str, str] = field(factory=dict)  # "lower", "higher" or "none", of the metrics whose component tells it
    note: str = ""  # what a reader of the numbers must know
    remarks: list[str] = field(factory=list)  # what evaluate components say of the student's numbers
    protocol: dict[str, dict[str, str]] = field(factory=dict)  # facts behind the numbers, by evaluate component
    logged: int = 0  # rows of metrics.jsonl at the end of the run
    fingerprint: str = ""  # of the run

    def rows(self) -> list[Row]:
        """The table: of the teacher's numbers those that were measured as the student's were."""
        apart = self.apart()
        return table(self.student, {k: v for k, v in self.teacher.items() if alike.component(k) not in apart})

    def left_out(self) -> list[str]:
        """Why some of the teacher's numbers are not in the table, a line for each component."""
        return [f"{name} of the teacher is left out: {why}" for name, why in self.apart().items()]

    def apart(self) -> dict[str, str]:
        """Components whose numbers of student and teacher must not stand side by side, and why."""
        names = dict.fromkeys(alike.component(metric) for metric in self.teacher)
        found = {n: alike.why_not(self.protocol.get(n, {}), self.teacher_protocol.get(n, {})) for n in names}
        return {name: why for name, why in found.items() if why}


@frozen(kw_only=True)
class Outcome:
    """How a recipe's run ended."""

    recipe_name: str
    run_dir: Path
    reused: bool  # nothing was run
    scores: Scores
    status: str = "finished"  # or "collapsed"

    @classmethod
    def of(cls, run: RunDir, *, reused: bool) -> Outcome:
        """Read back what a finished run left. Raises InputError if that is missing or damaged."""
        return cls(
            recipe_name=str(run.info["recipe"]), run_dir=run.path, reused=reused, scores=read(run.path),
            status=run.status(),
        )  # fmt: skip


def table(student: Mapping[str, float], teacher: Mapping[str, float] | None = None) -> list[Row]:
    """Make one row per metric, in the order measured; floors and spreads are columns, not rows."""
    teacher = teacher or {}
    both = {**teacher, **student}
    return [
        Row(
            name, teacher.get(name), teacher.get(f"{name}_sd"), student.get(name), student.get(f"{name}_sd"),
            *(_of_real(name, student) or _of_real(name, teacher) or (None, None)),
        )
        for name in {**student, **teacher} if not _belongs(name, both)
    ]  # fmt: skip


def _of_real(name: str, metrics: Mapping[str, float]) -> tuple[float, float | None] | None:
    """Floor or ceiling of a metric, and its spread."""
    key = next((name + suffix for suffix in REAL if name + suffix in metrics), None)
    return None if key is None else (metrics[key], metrics.get(f"{key}_sd"))


def _belongs(name: str, metrics: Mapping[str, float]) -> bool:
    return any(name.endswith(suffix) and name.removesuffix(suffix) in metrics for suffix in SUFFIXES)


def write(run_dir: Path, scores: Scores) -> None:
    """Write result/metrics.json of a run."""
    write_file(run_dir / FILE, scores)


def write_file(path: Path, scores: Scores) -> None:
    """Write a metrics.json, wherever it lies."""
    taught = {"metrics": scores.teacher, "nfe": scores.teacher_nfe, "protocol": scores.teacher_protocol}
    teacher = None if scores.teacher_nfe is None else taught
    last = {} if scores.last is None else {"last": scores.last}
    note = {"note": scores.note} if scores.note else {}
    facts = {
        "metrics": scores.student,
        "seconds": scores.seconds,
        "nimg": scores.nimg,
        **last,
        **note,
        "nfe": scores.nfe,
    }
    made = {"logged": scores.logged, "fingerprint": scores.fingerprint} if scores.fingerprint else {}
    told = {**made, "better": scores.better, "remarks": scores.remarks, "protocol": scores.protocol}
    files.write_json(path, {**facts, "teacher": teacher, **told})


def read(run_dir: Path) -> Scores:
    """Read the scores of a finished run. Raises InputError if they are missing or damaged."""
    return read_file(run_dir / FILE)


def read_file(path: Path) -> Scores:
    """Read a metrics.json, wherever it lies. Raises InputError if it is missing or damaged."""
    manifest.vouched(path)
    try:
        found = json.loads(files.read(path))
        teacher = found.get("teacher") or {"metrics": {}, "nfe": None}
        if "fingerprint" in found:
            check_maker(path, found["fingerprint"])
        return Scores(
            logged=typed.count(found.get("logged", 0)), fingerprint=typed.text(found.get("fingerprint", "")),
            student=_metrics(found["metrics"]), nfe=_count(found.get("nfe")), nimg=_count(found.get("nimg")),
            seconds=typed.number(found.get("seconds", 0.0)), teacher=_metrics(teacher["metrics"]),
            teacher_nfe=_count(teacher["nfe"]), last=_metrics(found["last"]) if "last" in found else None,
            note=typed.text(found.get("note", "")), remarks=[typed.text(each) for each in found.get("remarks", [])],
            better=_text(found.get("better", {})),
            protocol=_facts(found.get("protocol", {})), teacher_protocol=_facts(teacher.get("protocol", {})),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = f"{type(error).__name__}: {error}"[:120]
        raise InputError(f"cannot read {path} of a finished run ({told}): run it with --again") from error


def read_or_last(run_dir: Path, rows: Sequence[Mapping[str, Any]] | None) -> Scores:
    """Read the scores of a run; where it has no result, take its last evaluation from `rows` of metrics.jsonl.

    Warns where there were more rows, or a result. `rows` None: nobody has read them.
    """
    if there := (run_dir / FILE).is_file():
        scores = read(run_dir)
    else:
        evaluated = [row for row in rows or () if row["what"] == "evaluate"]
        scores = Scores(student=of_row(evaluated[-1]) if evaluated else {}, logged=_logged(run_dir))
        if (run_dir / "exit.json").is_file() and typed.json_object(run_dir / "exit.json").get("code") == 0:
            warnings.warn(f"{run_dir} is finished, but its result is gone", stacklevel=2)
    if rows is not None and len(rows) < scores.logged:
        lost = f"{scores.logged - len(rows)} of {scores.logged} rows {'' if there else 'or more '}"
        warnings.warn(f"{run_dir / 'metrics.jsonl'}: {lost}are lost", stacklevel=2)
    return scores


def _logged(run_dir: Path) -> int:
    """How many rows there were when the newest checkpoint was saved, which nobody checks here."""
    newest = sorted(run_dir.glob("checkpoints/kimg-*/state.json"), key=lambda path: (len(str(path)), path))
    try:
        return typed.count(typed.json_object(newest[-1]).get("logged", 0)) if newest else 0
    except (InputError, ValueError):  # a resume tells of it
        return 0


def of_row(row: Mapping[str, Any]) -> dict[str, float]:
    """Pick the metrics out of a row of metrics.jsonl."""
    return {name: float(value) for name, value in row.items() if "/" in name}


def _metrics(found: Mapping[str, Any]) -> dict[str, float]:
    return {typed.text(name): typed.number(value) for name, value in found.items()}


def _count(value: Any) -> int | None:
    return None if value is None else typed.count(value)


def _facts(protocol: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    return {typed.text(name): _text(facts) for name, facts in protocol.items()}


def _text(facts: Mapping[str, Any]) -> dict[str, str]:
    return {typed.text(name): typed.text(value) for name, value in facts.items()}
