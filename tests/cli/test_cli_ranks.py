"""What `doctor --nproc N` says of what the processes found."""

from __future__ import annotations

from pathlib import Path

import pytest

from distillkit.cli.main import main
from distillkit.cli.ranks import findings

WELL = {
    "hosts": ["a", "a", "b"], "backend": "gloo", "gb_per_s": 1.5, "clocks": [0.0, 0.001, -0.01],
    "sees": [True] * 3, "wrote": True,
}  # fmt: skip


def test_all_is_well() -> None:
    assert list(findings(WELL, Path("runs"))) == [
        ("ok", "ranks", "3 processes on a, b; gloo"),
        ("ok", "wire", "sums of all processes: 1.50 GB/s"),
        ("ok", "clocks", "within 0.010 s"),
        ("ok", "shared", "runs: all see one file system"),
    ]


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        ({"gb_per_s": 0.01}, "wire", "0.01 GB/s: slower than"),
        ({"clocks": [0.0, 0.0, -5.0]}, "clocks", "b is -5.0 s from a"),
        ({"sees": [True, True, False]}, "shared", "b does not see runs"),
        ({"wrote": False, "sees": [False] * 3}, "shared", "nothing can be written there"),
    ],
)
def test_what_is_not_well_is_a_warning(change, name, told) -> None:
    (state, text) = {one: (state, text) for state, one, text in findings(WELL | change, Path("runs"))}[name]
    assert state == "warn" and told in text


@pytest.mark.ranks
def test_processes_are_started_and_tried(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--nproc", "2"]) == 0
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()[:-1]}
    assert "2 processes on" in lines["ranks"] and "GB/s" in lines["wire"]
    assert "all see one file system" in lines["shared"] and list(tmp_path.glob("runs/.*")) == []


def test_what_goes_with_several_processes_alone_is_refused(capsys) -> None:
    assert main(["doctor", "--nnodes", "2"]) == 2
    assert capsys.readouterr().err == "error: --nnodes goes with --nproc\n"
