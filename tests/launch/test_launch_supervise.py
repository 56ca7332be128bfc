"""Processes started together: a stand-in for the command says how each ends."""

from __future__ import annotations

import pytest

from distillkit import launch
from distillkit.launch import workers

pytestmark = pytest.mark.ranks


def test_each_process_finds_its_place_and_its_share_of_the_cores(stand_in, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 7)
    assert launch.lead(stand_in.task("", nproc=3, timeout=12.0)) == launch.Outcome(0)
    found = [stand_in.seen(rank) for rank in range(3)]
    assert [(one["RANK"], one["LOCAL_RANK"], one["WORLD_SIZE"], one["LOCAL_WORLD_SIZE"]) for one in found] == [
        (str(rank), str(rank), "3", "3") for rank in range(3)
    ]
    assert {(one["MASTER_ADDR"], one["OMP_NUM_THREADS"], one["DISTILLKIT_TIMEOUT"]) for one in found} == {
        ("127.0.0.1", "2", "12")
    }
    assert len({one["MASTER_PORT"] for one in found}) == 1


def test_a_killed_process_is_named_and_the_others_code_does_not_hide_it(stand_in) -> None:
    found = launch.lead(stand_in.task("everyone()\nkill() if rank == 1 else (time.sleep(0.3), sys.exit(6))"))
    assert (found.code, found.again) == (6, True)
    assert found.line.startswith("rank 1 (host ")
    assert found.line.endswith(") was ended by SIGKILL: the same command goes on")


def test_the_first_cause_counts_and_its_line_is_quoted(stand_in) -> None:
    code = """
everyone()
if rank == 1:
    print("noise\\nerror: out of memory: 3 GB\\nmore noise", file=sys.stderr); sys.exit(5)
time.sleep(0.3); sys.exit(6)
"""
    found = launch.lead(stand_in.task(code))
    assert (found.code, found.again, found.said) == (5, False, False)
    assert found.line.endswith("): out of memory: 3 GB")


def test_what_rank_0_said_itself_is_not_told_twice(stand_in) -> None:
    found = launch.lead(stand_in.task("everyone()\nsys.exit(4) if rank == 0 else (time.sleep(0.3), sys.exit(6))"))
    assert (found.code, found.said) == (4, True)


def test_a_code_that_rank_0_ends_with_too_is_told_by_rank_0(stand_in) -> None:
    found = launch.lead(stand_in.task("everyone()\ntime.sleep(0.4 * (1 - rank)); sys.exit(75)"))
    assert (found.code, found.said) == (75, True)


def test_those_that_hang_after_a_failure_are_made_to_leave(stand_in, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distillkit.launch.task.LEAVING", 0.3)
    code = "everyone()\nsys.exit(6) if rank == 0 else kill(signal.SIGSTOP)"
    found = launch.lead(stand_in.task(code))
    assert found.code == 6
    assert found.line.endswith("did not answer and was ended: the same command goes on")


def test_a_lost_process_starts_all_again_and_only_as_often_as_was_asked(
    stand_in, capsys: pytest.CaptureFixture
) -> None:
    code = "everyone()\nif rank == 1 and attempt < 2: kill()\nif attempt < 2: time.sleep(0.3); sys.exit(6)"
    assert launch.lead(stand_in.task(code, restarts=2)).code == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: rank 1")]
    assert [line.rpartition("; ")[2] for line in told] == ["starting again, 1 of 2", "starting again, 2 of 2"]
    assert stand_in.seen(0, 2)["TORCHELASTIC_RESTART_COUNT"] == "2"
    for file in stand_in.folder.iterdir():
        file.unlink()
    assert launch.lead(stand_in.task(code, restarts=1)).code == 6


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 75])
def test_what_the_same_command_would_meet_again_is_not_started_again(stand_in, code: int) -> None:
    assert launch.lead(stand_in.task(f"everyone()\nsys.exit({code})", restarts=3)).code == code
    assert sorted(path.name for path in stand_in.folder.iterdir()) == ["0.0", "1.0"]
