"""result/metrics.json: what is written is read, also as 0.1.0 wrote it; what is damaged is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from distillkit.api import InputError
from distillkit.disk import results
from distillkit.disk.results import Scores

OLD = {"metrics": {"m/fd": 2.0, "m/fd_floor": 1}, "seconds": 4.5, "nimg": 64, "nfe": 1,
       "teacher": {"metrics": {"m/fd": 1.5}, "nfe": 35}, "protocol": {"m": {"seeds": "0-63"}}}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "result").mkdir()
    return tmp_path


def put(run: Path, value: object) -> None:
    (run / results.FILE).write_text(json.dumps(value))


@pytest.mark.parametrize("scores", [
    Scores(student={}), Scores(student={"m/fd": 1.0}, nfe=1, nimg=8, seconds=2.5, last={"m/fd": 3.0}),
    Scores(student={"m/fd": 1.0}, teacher={"m/fd": math.inf}, teacher_nfe=35, protocol={"m": {"images": "64"}}),
])  # fmt: skip
def test_what_is_written_is_read(run: Path, scores: Scores) -> None:
    results.write(run, scores)
    assert results.read(run) == scores


def test_a_number_that_is_none_is_a_string_in_the_file_and_nan_again_when_read(run: Path) -> None:
    results.write(run, Scores(student={"m/fd": math.nan}))
    assert json.loads((run / results.FILE).read_text())["metrics"] == {"m/fd": "nan"}
    assert math.isnan(results.read(run).student["m/fd"])


def test_a_result_of_0_1_0_is_read(run: Path) -> None:
    put(run, OLD)
    expected = Scores(student={"m/fd": 2.0, "m/fd_floor": 1.0}, nfe=1, nimg=64, seconds=4.5, teacher={"m/fd": 1.5},
                      teacher_nfe=35, protocol={"m": {"seeds": "0-63"}})  # fmt: skip
    assert results.read(run) == expected
    put(run, {**OLD, "teacher": None})
    assert (results.read(run).teacher, results.read(run).teacher_nfe) == ({}, None)


@pytest.mark.parametrize("wrong", [
    [], {}, {**OLD, "metrics": {"m/fd": "much"}}, {**OLD, "metrics": {"m/fd": True}}, {**OLD, "metrics": 3},
    {**OLD, "nfe": -1}, {**OLD, "nfe": "<b>1</b>"}, {**OLD, "seconds": "long"}, {**OLD, "teacher": {"nfe": 1}},
    {**OLD, "nimg": 10**400}, {**OLD, "metrics": {"m/fd": 10**400}}, {**OLD, "protocol": ["x"]},
    {**OLD, "protocol": {"m": "x"}},
])  # fmt: skip
def test_a_damaged_result_is_refused_by_name(run: Path, wrong: object) -> None:
    put(run, wrong)
    with pytest.raises(InputError, match=r"result/metrics\.json.*--again"):
        results.read(run)


def test_without_a_result_the_last_evaluation_counts(tmp_path: Path) -> None:
    rows = [{"what": "evaluate", "nimg": 1, "m/fd": 3.0}, {"what": "evaluate", "nimg": 2, "m/fd": 2, "seconds": 1.0},
            {"what": "tick", "nimg": 3, "loss/x": 1.0}]  # fmt: skip
    assert results.read_or_last(tmp_path, rows).student == {"m/fd": 2.0}
    assert results.read_or_last(tmp_path, []).student == {}
