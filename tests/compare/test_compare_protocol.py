"""Equal recipes whose metrics told of other files, images or protocols."""

from __future__ import annotations

import json
import warnings

import pytest

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


def warned(*runs):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        compare(runs)
    return [str(one.message) for one in found]


def test_other_features_under_the_same_name_are_told(run):
    first, second = run("a", features="inception, sha256 11", seeds="0-9"), run("b", features="inception, sha256 22")
    assert warned(first, second) == [
        "m is not measured alike: features is 'inception, sha256 11' in a, 'inception, sha256 22' in b"
    ]


def test_other_features_within_one_group_are_told_too(run):
    runs = [run("a", seed=i, features=f"net {i}") for i in (0, 1)]
    assert warned(*runs, run("b", features="net 1")) == [
        "m is not measured alike: features is 'net 0 and net 1' in a, 'net 1' in b"
    ]


def test_equal_facts_and_runs_that_told_none_are_no_reason_to_warn(run):
    assert warned(run("a", features="net", floor="one"), run("b", features="net", seeds="0-9"), run("c")) == []
