"""`kill -9` at every system call of a save and at random moments: the newest checkpoint always loads."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distillkit.disk import checkpoint
from distillkit.disk.checkpoint import load_newest, save

CALLS = ("mkdir", "fsync", "rename", "unlink", "rmdir")


def write(folder: Path, nimg: int, keep: int = 1) -> None:
    save(folder, nimg, {"networks/w": torch.full((64,), float(nimg)), "ema/w": torch.ones(3)}, {"nimg": nimg}, keep)


def check(folder: Path, at_least: int) -> int:
    tensors, meta, path = load_newest(folder, "cpu")
    assert meta["nimg"] >= at_least and path.name == f"kimg-000000.{meta['nimg']:03d}"
    assert torch.equal(tensors["networks/w"], torch.full((64,), float(meta["nimg"])))
    assert not list(folder.glob("damaged-*"))
    return meta["nimg"]


def child(work: Callable[[int], None]) -> tuple[int, int]:
    """Fork; `work` gets a pipe to report to. Returns the child's id and the end to read from."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work(writer)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    return pid, reader


def die_at(count: int, after: bool) -> None:
    """From now on the `count`-th system call that changes the disk is this process's last, done or not."""
    left = [count]

    def deadly(call: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **options: object) -> object:
            left[0] -= 1
            if left[0] == 0 and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **options)
            finally:
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        return run

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))


def half_written(content: object, path: Path) -> None:
    path.write_bytes(b"\x40")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("again", [False, True], ids=["new", "same-name"])
@pytest.mark.parametrize("after", [False, True], ids=["before-call", "after-call"])
def test_a_kill_at_any_system_call_of_a_save_leaves_a_checkpoint(tmp_path: Path, again: bool, after: bool) -> None:
    status, count = -signal.SIGKILL, 0
    while status == -signal.SIGKILL:
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        write(folder, 1)

        def work(pipe: int, folder: Path = folder, count: int = count) -> None:
            die_at(count, after)
            write(folder, 1 if again else 2)

        pid, _ = child(work)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found = check(folder, 1)
        write(folder, found + 1)  # the resumed run saves, and leaves nothing of the killed one
        assert [path.name for path in folder.iterdir()] == [f"kimg-000000.00{found + 1}"]
    assert status == 0 and count > 12  # the last one lived: every call was tried


def test_a_kill_while_a_file_is_written_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)
    monkeypatch.setattr(checkpoint, "save_file", half_written)
    pid, _ = child(lambda pipe: write(tmp_path, 2))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert check(tmp_path, 1) == 1


def test_ten_kills_at_random_moments_lose_no_finished_save(tmp_path: Path) -> None:
    moments = random.Random(0)
    reached = 0

    def work(pipe: int) -> None:
        for nimg in range(reached + 1, 999):
            write(tmp_path, nimg, keep=2)
            os.write(pipe, nimg.to_bytes(2, "big"))

    for _ in range(10):
        pid, pipe = child(work)
        finished = os.read(pipe, 2)
        time.sleep(moments.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        finished = (finished + os.read(pipe, 10_000))[-2:]
        os.close(pipe)
        reached = check(tmp_path, int.from_bytes(finished, "big"))
    assert reached >= 10
