"""Run folders: numbers, locks, how a run ended, which one to reuse."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.api import InputError, UsageError
from distillkit.disk import lock, typed
from distillkit.disk.rundir import RunDir, known


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def find(root: Path, fingerprint: str) -> RunDir | None:
    return next((run for run, _ in known(root).get(fingerprint, ())), None)


def test_runs_are_numbered(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "runs"
    assert [RunDir.create(root, "sid").path.name for _ in range(2)] == ["0001-sid", "0002-sid"]
    (root / "0011-by-hand").mkdir()
    (root / "notes").mkdir()
    run = RunDir.create(root, "../a b/c", fingerprint="f00", versions={"distillkit": "0.1.0"})
    assert run.path == root / "0012-a-b-c"
    again = RunDir.open(run.path)
    assert again == run and again.fingerprint == "f00"
    assert again.info["recipe"] == "../a b/c" and again.info["versions"] == {"distillkit": "0.1.0"}
    assert again.checkpoints.is_dir() and again.samples.is_dir() and not again.result.exists()


def test_many_processes_at_once_get_different_numbers(tmp_path: Path) -> None:
    def work(name: str) -> None:
        for _ in range(8):
            RunDir.create(tmp_path, name)

    children = [forked(lambda name=name: work(name)) for name in "abcd"]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    numbers = sorted(int(path.name[:4]) for path in tmp_path.iterdir())
    assert len(numbers) == 32 and len(set(numbers)) == 32
    assert all(RunDir.open(path).path == path for path in tmp_path.iterdir())


def test_a_root_that_cannot_hold_runs_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "runs"
    file.write_text("")
    for root in (file, file / "below", Path("/proc/no/runs")):
        with pytest.raises(UsageError, match=f"cannot make a run folder in {root}: ") as caught:
            RunDir.create(root, "sid")
        assert "\n" not in str(caught.value)


def test_what_is_no_run_is_not_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match="is not a run folder"):
            RunDir.open(path)
    for text in ("", "[]", "{}", '{"fingerprint": 1}', "[" * 100_000):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(InputError, match=r"run\.json"):
            RunDir.open(tmp_path)


# Locks.


def test_a_second_process_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "sid")
    reader, writer = os.pipe()

    def work() -> None:
        with run.lock():
            os.write(writer, b"x")
            signal.pause()

    child = forked(work)
    os.read(reader, 1)
    owner = f"in use by process {child} on {socket.gethostname()}"
    with pytest.raises(UsageError, match=owner), run.lock():
        raise AssertionError("two owners")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with run.lock():  # the dead one's lock is free, whatever the file says
        assert lock.mine(run.path)


def test_the_lock_is_free_after_use_and_after_an_error(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "sid")
    with pytest.raises(RuntimeError), run.lock():
        raise RuntimeError
    with run.lock(), pytest.raises(UsageError, match=f"process {os.getpid()}"), run.lock():
        raise AssertionError("two owners")
    with run.lock():
        pass


@pytest.mark.parametrize("name", ["lock", "exit.json", "run.json", ".tmp-exit.json"])
def test_a_planted_link_is_not_followed(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("{}")
    run = RunDir.create(tmp_path / "runs", "sid")
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).symlink_to(victim)
    if name == "lock":
        with pytest.raises(UsageError, match="cannot lock"), run.lock():
            pass
    elif name == "run.json":
        with pytest.raises(InputError, match="cannot read"):
            RunDir.open(run.path)
    else:
        run.write_exit(0, "done", 1, None)
        assert run.status() == "finished"
    assert victim.read_text() == "{}"


# How it ended.


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, "finished"), (1, "failed"), (2, "failed"), (3, "failed"), (4, "diverged"), (5, "failed"), (6, "unfinished"),
     (75, "unfinished"), (130, "unfinished"), (143, "unfinished")],
)  # fmt: skip
def test_the_status_follows_the_exit_code(tmp_path: Path, code: int, status: str) -> None:
    run = RunDir.create(tmp_path, "sid")
    assert run.status() == "unfinished"
    run.write_exit(code, "because", 512_000, "kimg-000512.000")
    assert run.status() == status
    written = {"code": code, "reason": "because", "nimg": 512_000, "checkpoint": "kimg-000512.000"}
    assert typed.json_object(run.exit) == written
    assert not list(run.path.glob(".tmp-*"))


def test_the_newest_finished_run_is_found_else_the_newest_other(tmp_path: Path) -> None:
    assert find(tmp_path / "absent", "f") is None
    runs = [RunDir.create(tmp_path, name, fingerprint) for name, fingerprint in zip("abcd", "fffg", strict=True)]
    assert find(tmp_path, "f") == runs[2] and find(tmp_path, "none") is None
    runs[0].write_exit(0, "done", 1, None)
    assert find(tmp_path, "f") == runs[0]
    runs[1].write_exit(0, "done", 1, None)
    assert find(tmp_path, "f") == runs[1]


def test_a_broken_run_is_named_and_left_out(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "a", "f")
    broken = RunDir.create(tmp_path, "b", "f")
    broken.exit.write_text("{")
    with pytest.warns(UserWarning, match="exit.json"):
        assert find(tmp_path, "f") == run


def test_a_planted_link_among_the_runs_is_not_reused(tmp_path: Path) -> None:
    elsewhere = RunDir.create(tmp_path / "elsewhere", "a", "f")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "0001-a").symlink_to(elsewhere.path)
    assert find(tmp_path / "runs", "f") is None
    assert RunDir.create(tmp_path / "runs", "a").path.name == "0002-a"
