"""The first rank at work by itself: how long it takes does not matter, whether it lives does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from distillkit.launch.workers import free_port

pytestmark = pytest.mark.ranks
WORK = """
import os, pathlib, sys, time
from distillkit.api import Lost
from distillkit.train.ranks import beat, join
beat.BEAT_SECONDS = 0.5
ranks, folder = join.join(), pathlib.Path(sys.argv[1])
ranks.hurry()
try:
    if ranks.first:
        with ranks.leading() as end:
            (folder / "leads").touch()
            time.sleep(float(sys.argv[2]))
            end["well"] = True
    else:
        print(ranks.listen({}))
except Lost as error:
    ranks.fail(6, str(error))
    ranks.leave(well=False)
    print(error)
    sys.exit(6)
ranks.leave(well=True)
"""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two ranks with a timeout of 2 s; to be started with the seconds for which the first one leads."""
    started: list[subprocess.Popen[str]] = []

    def start(seconds: float) -> list[subprocess.Popen[str]]:
        port = free_port()
        for rank in "01":
            places = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            environment = os.environ | places | {"DISTILLKIT_TIMEOUT": "2", "TMPDIR": str(tmp_path)}
            argv = [sys.executable, "-c", WORK, str(tmp_path), str(seconds)]
            started.append(subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True))
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_first_rank_that_leads_for_longer_than_the_timeout_ends_nothing(two) -> None:
    first, other = two(5.0)
    assert other.communicate(timeout=60)[0] == "{'well': True}\n"
    assert [first.wait(20), other.wait(20)] == [0, 0]


def test_one_that_is_stopped_while_it_leads_is_given_up(two, tmp_path: Path) -> None:
    first, other = two(300.0)
    while not (tmp_path / "leads").exists():
        assert first.poll() is None
        time.sleep(0.1)
    time.sleep(1)
    first.send_signal(signal.SIGSTOP)
    told = other.communicate(timeout=30)[0]
    assert other.returncode == 6
    assert "timed out: rank 0 has shown no sign of life for 2 s; where this one was: " in told
    assert (tmp_path / "distillkit-rank-1-stacks.txt").exists()


def test_one_that_is_killed_while_it_leads_is_noticed_at_once(two, tmp_path: Path) -> None:
    first, other = two(300.0)
    while not (tmp_path / "leads").exists():
        assert first.poll() is None
        time.sleep(0.1)
    first.kill()
    assert "another process is gone or silent" in other.communicate(timeout=30)[0]
    assert other.returncode == 6
