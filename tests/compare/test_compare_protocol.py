"""Equal recipes whose metrics told of other files, images or protocols."""

from __future__ import annotations

import json
import re
import warnings

import pytest

from distillkit.api import UsageError
from distillkit.compare import Run, compare


@pytest.fixture
def run(folder):
    """A run whose metric m told these facts."""

    def write(name, seed=0, **facts):
        path = folder(name, [3, 2], seed=seed)
        file = path / "result/metrics.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "protocol": {"m": facts} if facts else {}}))
        return Run.read(path)

    return write


def warned(*runs, anyway=False):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        compare(runs, anyway=anyway)
    return [str(one.message) for one in found]


def test_other_features_under_the_same_name_are_refused(run):
    first, second = run("a", features="inception, sha256 11", seeds="0-9"), run("b", features="inception, sha256 22")
    sentence = "m features is 'inception, sha256 11' in a, 'inception, sha256 22' in b"
    with pytest.raises(UsageError, match=re.escape(f"not measured alike: {sentence}. --anyway")):
        compare([first, second])
    assert warned(first, second, anyway=True) == [f"not measured alike: {sentence}"]


def test_other_features_within_one_group_are_refused_too(run):
    runs = [run("a", seed=i, features=f"net {i}") for i in (0, 1)]
    with pytest.raises(UsageError, match="m features is 'net 0' and 'net 1' in a, 'net 1' in b"):
        compare([*runs, run("b", features="net 1")])


def test_equal_facts_other_floors_and_runs_that_told_none_are_no_reason_to_refuse(run):
    assert (
        warned(run("a", features="net", floor="one"), run("b", features="net", floor="two", seeds="0-9"), run("c"))
        == []
    )


def test_a_teacher_that_was_measured_otherwise_is_in_no_table(run):
    made = run("a", features="net 1")
    assert compare([made]).reference("teacher", "m/fd") is None, "nothing tells how it was measured"
    file = made.path / "result/metrics.json"
    found = json.loads(file.read_text())
    for features, expected in (("net 1", 1.5), ("net 2", None)):
        found["teacher"]["protocol"] = {"m": {"features": features, "floor": "another"}}
        file.write_text(json.dumps(found))
        again = Run.read(made.path)
        assert compare([again]).reference("teacher", "m/fd") == expected
    assert again.scores.left_out() == ["m of the teacher is left out: features: 'net 2', not 'net 1'"]
