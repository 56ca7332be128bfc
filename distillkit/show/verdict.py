"""One verdict on a run in words, from rules that docs/report.md states; it claims nothing that was not measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from attrs import frozen

from distillkit.api import InputError
from distillkit.disk import typed
from distillkit.disk.results import Row
from distillkit.show import copies, formats, names
from distillkit.show.beside import both, relation
from distillkit.show.saved import Saved

Level = Literal["well", "look", "bad", "open"]
FIRST = {"within": "within {}", "better": "better than {}", "worse": "worse than {}"}
SAID = {"coarse": "spreads are too wide to tell", "no spread": "no spread to judge by"}
VARIETY = ("recall", "coverage", "modes_covered")  # metrics that fall when images are all alike


@frozen
class Verdict:
    """What a run is: a line, how good that is, and what stands behind it."""

    text: str
    level: Level
    """well; look: warnings, copies, or behind the teacher; bad: collapsed, diverged, failed; open: not finished"""
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.text


def of(run_dir: str | Path) -> Verdict:
    """The verdict on the run in this folder. Raises InputError for damaged files."""
    if not Path(run_dir).is_dir():
        raise InputError(f"{run_dir} is no folder of a run")
    return judged(Saved.of(Path(run_dir)))


def judged(run: Saved) -> Verdict:
    """The state, then what the numbers say, then how many warnings there are."""
    state, level = _state(run)
    if level == "bad":
        return Verdict(state, level, (*_warnings(run), *_numbers(run)))
    told = list(_trend(run) if level == "open" else _measured(run))
    warnings = list(_warnings(run))
    if warnings:
        told.append(f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}")
    if level == "well" and (warnings or copies.SIGNS in told):
        level = "look"
    glue = ", " if level == "open" else ": "
    return Verdict(glue.join([state, *["; ".join(told)] * bool(told)]), level, (*warnings, *_numbers(run)))


def _state(run: Saved) -> tuple[str, Level]:
    """The first rule that fits; "healthy" is said only where the guard has looked at trained images."""
    reason = typed.text(str(run.end.get("reason", "")).partition("\n")[0][:300])
    if run.status == "collapsed":
        signs = run.end.get("signs")
        told = "; ".join(typed.text(sign) for sign in signs) if isinstance(signs, list) else ""
        return f"collapsed: {told or 'no sign was kept'}", "bad"
    if run.status == "diverged":
        return (reason if reason.startswith(("diverged", "collapsed")) else f"diverged: {reason}"), "bad"
    if run.status == "failed":
        return f"failed with code {run.end['code']}: {reason}", "bad"
    if run.status == "finished":
        if run.watch is None or run.watch.look <= 0:
            return "finished, and nothing looked at its health", "look"
        return ("behind its teacher", "look") if _behind(run) else ("healthy", "well")
    word = "running" if run.status == "running" else "not finished, and nothing works on it"
    return f"{word}: {_progress(run)}", "open"


def _progress(run: Saved) -> str:
    return f"{100 * min(run.nimg / run.total, 1):.0f} % done" if run.total else f"{formats.kimg(run.nimg)} kimg done"


def _trend(run: Saved) -> Iterator[str]:
    """Of a run that goes on: its first metric now and before, and signs of a collapse."""
    measured = [row for row in run.rows if row["what"] == "evaluate"]
    rows = [row for row in run.scores.rows() if row.student is not None]
    first = next((row for row in rows if run.way(row.name) in ("lower", "higher")), next(iter(rows), None))
    if first is None or first.student is None:
        yield "nothing was measured yet"
    else:
        yield f"{names.short([first.name])[first.name]} {formats.number(first.student)}{_moved(measured, first.name)}"
    if run.watch is not None and run.watch.look > 0:
        yield "; ".join(map(str, run.watch.collapsed)) or "no sign of a collapse"


def _moved(measured: list[dict[str, object]], metric: str) -> str:
    """How a metric moved since the evaluation before, where the spreads allow to say it."""
    last = [row for row in measured if isinstance(row.get(metric), int | float)][-2:]
    if len(last) < 2:
        return ""
    before, now = (float(row[metric]) for row in last)  # type: ignore[arg-type]
    spreads = [value if isinstance(value := row.get(f"{metric}_sd"), int | float) else None for row in last]
    spread = both(*spreads)
    if spread is None:
        return f" ({formats.number(before)} before)"
    if abs(now - before) <= 2 * spread:
        return f", as before within its spread ({formats.number(before)})"
    return f" and {'falling' if now < before else 'rising'} ({formats.number(before)} before)"


def _measured(run: Saved) -> Iterator[str]:
    """Of a finished run: beside its teacher, memorising, and what nobody measured."""
    rows = run.scores.rows()
    if not any(row.student is not None for row in rows):
        yield "nothing was measured"
        return
    yield from _beside(run) or _alone(run)
    ends = {row.name.partition("/")[2] for row in rows if row.student is not None}
    if not ends & set(VARIETY):
        yield "recall was not measured"
    yield copies.told(run.scores)


def _beside(run: Saved) -> list[str]:
    """One part of a sentence for each relation to the teacher that some metric has."""
    rows = run.scores.rows()
    said = names.short(row.name for row in rows)
    said |= {row.name: f"{said[row.name]}{_pair(row)}" for row in rows[:1]}
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(relation(row, run.way(row.name)), []).append(said[row.name])
    whose = f"the teacher's {run.scores.teacher_nfe}" if run.scores.teacher_nfe else "the teacher"
    parts: list[str] = []
    sentence: list[str] = []
    for how, first in FIRST.items():
        if how in found:
            parts.append(f"{first.format(whose) if not parts else how} on {names.listed(found[how])}")
    if parts:
        sentence.append(f"{_calls(run.scores.nfe)} is {'; '.join(parts)}")
    if "coarse" in found:
        sentence.append(f"spreads are too wide to tell on {names.listed(found['coarse'])}")
    if "no spread" in found:
        sentence.append(f"there are no spreads to judge {names.listed(found['no spread'])} by")
    return sentence


def _behind(run: Saved) -> bool:
    """Whether the first metric that has a direction is worse than the teacher's."""
    found = (relation(row, run.way(row.name)) for row in run.scores.rows())
    return next((how for how in found if how), "") == "worse"


def _pair(row: Row) -> str:
    if row.student is None or row.teacher is None:
        return ""
    return f" ({formats.number(row.student)} against {formats.number(row.teacher)})"


def _alone(run: Saved) -> list[str]:
    """The first metric beside real images, where there is no teacher's."""
    row = next((row for row in run.scores.rows() if row.student is not None), None)
    if row is None or row.student is None:
        return []
    real = f", real images {formats.with_spread(row.floor, row.floor_sd)}" if row.floor is not None else ""
    return [f"{names.short([row.name])[row.name]} {formats.with_spread(row.student, row.student_sd)}{real}"]


def _calls(nfe: int | None) -> str:
    return "the student" if not nfe else "one call" if nfe == 1 else f"the student of {nfe} calls"


def _warnings(run: Saved) -> Iterator[str]:
    """What a reader has to know, each a line."""
    yield from (typed.text(text) for text in run.scores.remarks if not text.startswith("collapsed: "))
    yield from map(typed.text, run.scores.left_out())
    if run.scores.note:
        yield typed.text(run.scores.note)
    if run.skipped:
        yield f"updates skipped (not finite): {run.skipped}"


def _numbers(run: Saved) -> Iterator[str]:
    """The numbers behind each relation."""
    short = names.short(row.name for row in run.scores.rows())
    for row in run.scores.rows():
        how = relation(row, run.way(row.name))
        if how and row.student is not None and row.teacher is not None:
            pair = (row.student, row.student_sd), (row.teacher, row.teacher_sd)
            student, teacher = (formats.with_spread(*one) for one in pair)
            yield f"{short[row.name]}: {student}, teacher {teacher}: {SAID.get(how, how)}"
