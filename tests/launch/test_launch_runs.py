"""Runs of two processes: killed, stopped and resumed, they end in the bits of one that nothing disturbed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distillkit.launch.workers import free_port

pytestmark = pytest.mark.ranks
DISTILLKIT = [sys.executable, "-m", "distillkit"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "distillkit"]
RUN = ["run", "gaussians_sid", "--set", "run.kimg=40", "--set", "run.checkpoint_kimg=4", "--runs"]
AROUND = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}


def start(runs: Path, *more: str, command: list[str] = DISTILLKIT) -> subprocess.Popen[str]:
    keys = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "env": AROUND}
    return subprocess.Popen([*command, *RUN, str(runs), *more], **keys)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    error = process.communicate(timeout=120)[1]
    return process.returncode, error


def bits(runs: Path) -> bytes:
    (student,) = runs.glob("*/result/student.safetensors")
    return student.read_bytes()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


def rank(launcher: subprocess.Popen[str], number: int) -> int:
    """The process of that rank."""
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        if f"\0RANK={number}\0" in "\0" + Path(f"/proc/{child}/environ").read_text():
            return int(child)
    raise AssertionError(f"no rank {number}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The student of a run that nothing disturbed."""
    runs = tmp_path_factory.mktemp("whole")
    assert ended(start(runs, "--nproc", "2")) == (0, "")
    return bits(runs)


def test_torchrun_starts_the_same_run(whole: bytes, tmp_path: Path) -> None:
    assert ended(start(tmp_path, command=TORCHRUN))[0] == 0
    assert bits(tmp_path) == whole


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find a process by its rank")
@pytest.mark.parametrize("killed", [0, 1])
def test_a_run_that_lost_a_process_starts_again_by_itself_to_the_same_bits(
    whole: bytes, tmp_path: Path, killed: int
) -> None:
    launcher = start(tmp_path, "--nproc", "2", "--restarts", "1")
    until(lambda: list(tmp_path.glob("*/checkpoints/kimg-*/state.json")))
    os.kill(rank(launcher, killed), signal.SIGKILL)
    code, told = ended(launcher)
    assert (code, "was ended by SIGKILL: the same command goes on; starting again, 1 of 1" in told) == (0, True), told
    assert bits(tmp_path) == whole


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find a process by its rank")
def test_a_signal_to_any_process_saves_on_all_and_the_same_command_goes_on(whole: bytes, tmp_path: Path) -> None:
    launcher = start(tmp_path, "--nproc", "2")
    until(lambda: list(tmp_path.glob("*/checkpoints/kimg-*/state.json")))
    os.kill(rank(launcher, 1), signal.SIGTERM)
    code, told = ended(launcher)
    (end,) = tmp_path.glob("*/exit.json")
    assert (code, json.loads(end.read_text())["code"], told.count("error:")) == (75, 75, 1), told
    assert ended(start(tmp_path, "--nproc", "2")) == (0, "")
    assert bits(tmp_path) == whole


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to find a process by its rank")
def test_a_lost_process_is_named_in_the_last_line(tmp_path: Path) -> None:
    launcher = start(tmp_path, "--nproc", "2")
    until(lambda: list(tmp_path.glob("*/checkpoints/kimg-*/state.json")))
    os.kill(rank(launcher, 1), signal.SIGKILL)
    code, told = ended(launcher)
    assert code == 6
    assert told.splitlines()[-1].startswith("error: rank 1 (host ")
    assert "Traceback" not in told and ".cpp" not in told


def test_a_process_that_waits_for_one_that_never_comes_leaves_on_a_signal(tmp_path: Path) -> None:
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    command = [*DISTILLKIT, *RUN, str(tmp_path)]
    waiting = subprocess.Popen(
        command, env=AROUND | place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    until(lambda: listens(int(place["MASTER_PORT"])))
    time.sleep(0.5)
    waiting.terminate()
    assert ended(waiting) == (143, "stopped by SIGTERM\n")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False
