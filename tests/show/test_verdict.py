"""The verdict on a run: every rule of docs/report.md, one by one, on folders made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distillkit.api import InputError
from distillkit.disk import lock
from distillkit.disk.results import Row
from distillkit.show import verdict
from distillkit.show.beside import relation
from distillkit.show.verdict import Verdict

WELL = {"finite": 1.0, "saturated": 0.0, "shift": 0.01, "spread": 1.0, "contrast": 1.0, "diversity": 0.9}
RESOLVED = "schema = 1\n[run]\nkimg = 8.0\nbatch = 64\n[run.guard]\naction = '{}'\n"
BETTER = {"m/fd": "lower", "m/recall": "higher", "m/kid": "lower", "m/near_train": "none"}
FD = {"m/fd": 1.0, "m/fd_sd": 0.05}
FULL = FD | {"m/recall": 0.9, "m/recall_sd": 0.01, "m/near_train": 0.04}
NEAR = {"m/near_train_floor": 0.05, "m/near_train_floor_sd": 0.01}
Made = Callable[..., Verdict]


def look(nimg: int, **changed: float) -> dict[str, Any]:
    return {"what": "look", "nimg": nimg, "health": WELL | changed}


def evaluated(nimg: int, **numbers: float) -> dict[str, Any]:
    return {"what": "evaluate", "nimg": nimg, "health": WELL, **{f"m/{name}": v for name, v in numbers.items()}}


HEALTHY = [look(0), look(8000)]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """`made(exit, metrics, teacher, rows=, guard=, **facts of the result)` -> the verdict on such a run."""

    def make(
        end: dict[str, Any] | None = None, metrics: dict[str, float] | None = None,
        teacher: dict[str, float] | None = None, rows: list[dict[str, Any]] = HEALTHY, guard: str = "warn",
        **facts: Any,
    ) -> Verdict:  # fmt: skip
        told = {"metrics": {"m": {"better": {name.removeprefix("m/"): way for name, way in BETTER.items()}}}}
        (tmp_path / "run.json").write_text(json.dumps({"recipe": "x", "fingerprint": "0", "told": told}))
        (tmp_path / "resolved.toml").write_text(RESOLVED.format(guard))
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if end is not None:
            (tmp_path / "exit.json").write_text(json.dumps(end))
        if metrics is not None:
            taught = {"metrics": teacher, "nfe": 35} if teacher else None
            found = {"metrics": metrics, "nfe": 1, "teacher": taught, "better": BETTER, **facts}
            (tmp_path / "result").mkdir(exist_ok=True)
            (tmp_path / "result/metrics.json").write_text(json.dumps(found))
        return verdict.of(tmp_path)

    return make


DONE = {"code": 0, "reason": "finished"}


def test_a_healthy_run_beside_its_teacher_in_one_line(made: Made) -> None:
    found = made(DONE, FULL | NEAR, {"m/fd": 0.97, "m/fd_sd": 0.03, "m/recall": 0.99, "m/recall_sd": 0.01})
    assert str(found) == (
        "healthy: one call is within the teacher's 35 on FD (1 against 0.97); worse on recall; no sign of memorising"
    )
    assert found.level == "well"
    assert found.reasons[0] == "FD: 1 \N{PLUS-MINUS SIGN} 0.05, teacher 0.97 \N{PLUS-MINUS SIGN} 0.03: within"


def test_a_student_whose_first_metric_is_worse_is_behind_its_teacher_and_not_green(made: Made) -> None:
    found = made(DONE, FULL | NEAR, {"m/fd": 0.5, "m/fd_sd": 0.03})
    assert found.text.startswith("behind its teacher: one call is worse than the teacher's 35 on FD (1 against 0.5)")
    assert found.level == "look"


def test_warnings_are_counted_and_stand_first_among_the_reasons(made: Made) -> None:
    tick = {"what": "tick", "nimg": 64, "skipped": 3}
    found = made(DONE, FULL | NEAR, FULL, rows=[*HEALTHY, tick], remarks=["m: odd"], note="the picture failed")
    assert found.text.endswith("; 3 warnings") and found.level == "look"
    assert found.reasons[:3] == ("m: odd", "the picture failed", "updates skipped (not finite): 3")


def test_a_collapsed_run_says_its_signs_and_nothing_good(made: Made) -> None:
    signs = ["one mode: variance 0.01, since 4 kimg"]
    told = [f"collapsed: {signs[0]}"]
    found = made({"code": 0, "reason": "collapsed", "signs": signs}, FULL | NEAR, FULL, remarks=told)
    assert found.text == f"collapsed: {signs[0]}" and found.level == "bad"
    assert not [reason for reason in found.reasons if reason.startswith("collapsed")]


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ({"code": 4, "reason": "diverged: <nan>\nmore"}, "diverged: <nan>"),
        ({"code": 4, "reason": "collapsed: one mode; stopped"}, "collapsed: one mode; stopped"),
        ({"code": 4, "reason": "3 updates in a row"}, "diverged: 3 updates in a row"),
        ({"code": 5, "reason": "disk full"}, "failed with code 5: disk full"),
    ],
)  # fmt: skip
def test_a_run_that_ended_otherwise_says_why(made: Made, end: dict[str, Any], text: str) -> None:
    found = made(end)
    assert (found.text, found.level) == (text, "bad")


def test_healthy_is_not_said_where_nothing_looked(made: Made) -> None:
    for rows, guard in (([look(0)], "warn"), (HEALTHY, "off"), ([], "warn")):
        found = made(DONE, FULL | NEAR, FULL, rows=rows, guard=guard)
        assert found.text.startswith("finished, and nothing looked at its health: ") and found.level == "look"


def test_what_was_not_measured_is_said(made: Made) -> None:
    assert made(DONE).text == "healthy: nothing was measured"
    assert made(DONE, FD, FD).text.endswith("; recall was not measured; memorising was not measured")
    assert made(DONE, FULL, FULL).text.endswith("; memorising was not measured"), (
        "a share without its floor says nothing"
    )


def test_without_a_teacher_it_stands_beside_real_images(made: Made) -> None:
    found = made(DONE, FULL | NEAR | {"m/fd_floor": 0.9, "m/fd_floor_sd": 0.02})
    pm = "\N{PLUS-MINUS SIGN}"
    assert found.text == f"healthy: FD 1 {pm} 0.05, real images 0.9 {pm} 0.02; no sign of memorising"


@pytest.mark.parametrize(
    "more", [{"m/near_train": 0.1}, {"m/fd_floor": 2.0, "m/fd_floor_sd": 0.1}], ids=["near", "below the floor"]
)
def test_copies_are_signs_of_memorising(made: Made, more: dict[str, float]) -> None:
    found = made(DONE, FULL | NEAR | more, FULL)
    assert "; signs of memorising" in found.text and found.level == "look"


def test_a_running_run_says_how_far_it_is_and_where_its_metric_goes(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "alive", lambda folder: True)
    falling = [evaluated(1600, fd=5.2, fd_sd=0.1), evaluated(3200, fd=3.1, fd_sd=0.1)]
    found = made(rows=[look(0), *falling])
    assert found.text == "running: 40 % done, FD 3.1 and falling (5.2 before); no sign of a collapse"
    assert found.level == "open"
    close = [evaluated(1600, fd=3.15, fd_sd=0.1), falling[1]]
    assert "FD 3.1, as before within its spread (3.15)" in made(rows=[look(0), *close]).text
    bare = [evaluated(1600, fd=5.2), evaluated(3200, fd=3.1)]
    assert "FD 3.1 (5.2 before)" in made(rows=[look(0), *bare]).text, "no spread, no word for it"
    assert made(rows=[look(0)]).text == "running: 0 % done, nothing was measured yet"
    sick = [look(0), look(1600, diversity=0.01), look(3200, diversity=0.01)]
    assert "one mode: variance among images" in made(rows=sick).text


def test_a_run_that_nobody_works_on_says_so(made: Made) -> None:
    found = made({"code": 75, "reason": "SIGTERM"}, rows=[look(0), look(4000)])
    assert found.text.startswith("not finished, and nothing works on it: 50 % done, nothing was measured yet")


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of a run"):
        verdict.of(tmp_path / "none")


def row(student: float | None, sd: float | None, teacher: float | None, teacher_sd: float | None) -> Row:
    return Row("m", teacher, teacher_sd, student, sd, None, None)


@pytest.mark.parametrize(
    ("given", "way", "found"),
    [
        (row(1.0, 0.1, 1.2, 0.1), "lower", "within"),
        (row(1.0, 0.1, 1.4, 0.1), "lower", "better"),
        (row(1.0, 0.1, 1.4, 0.1), "higher", "worse"),
        (row(0.1, 0.1, 0.2, 0.1), "lower", "coarse"),  # 2 sqrt(2) 0.1 is more than half of 0.2
        (row(1.0, None, 1.0, 0.1), "lower", "no spread"),
        (row(1.0, 0.1, 1.0, None), "lower", "no spread"),
        (row(1.0, 0.1, 1.0, float("nan")), "lower", "no spread"),
        (row(float("nan"), 0.1, 1.0, 0.1), "higher", "worse"),
        (row(1.0, 0.1, float("nan"), 0.1), "lower", ""),
        (row(1.0, 0.1, None, None), "lower", ""),
        (row(None, None, 1.0, 0.1), "lower", ""),
        (row(1.0, 0.1, 2.0, 0.1), "none", ""),
        (row(1.0, 0.1, 2.0, 0.1), None, ""),
    ],
)  # fmt: skip
def test_the_relation_to_the_teacher(given: Row, way: str | None, found: str) -> None:
    assert relation(given, way) == found


def test_many_metrics_are_counted_and_no_spread_is_no_judgement(made: Made) -> None:
    ways = {f"m/x{i}": "lower" for i in range(6)}
    student = {name: 1.0 for name in ways}
    found = made(DONE, student, student, better=ways)
    assert "there are no spreads to judge x0 (1 against 1), x1, x2 and 3 more by" in found.text
    assert "within" not in found.text and found.reasons[0] == "x0: 1, teacher 1: no spread to judge by"
