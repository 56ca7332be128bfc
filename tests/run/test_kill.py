"""Twenty `kill -9` at random moments, five of them inside a save: the same command goes on, to the same bits.

The runs are children of a process of their own (this file as a script), which imports torch once and forks: a child is
`distillkit run` from its first line to its last, and dies as one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KILLS, INSIDE_A_SAVE = 20, 5
CALLS = ("mkdir", "fsync", "rename", "unlink", "rmdir")  # what a save asks of the disk, about 40 times


class Server:
    """Runs the command line in forked children."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=open(folder / "server.log", "w"), env=environment, cwd=folder,  # noqa: SIM115 - as long as the server
        )  # fmt: skip

    def run(self, *argv: str, delay: float | None = None, die_at: tuple[int, int] | None = None) -> tuple[int, float]:
        """Exit status (negative: the signal) and seconds; killed after `delay`, or at call `die_at[1]` of a save."""
        self.process.stdin.write(json.dumps({"argv": argv, "delay": delay, "die_at": die_at}) + "\n")
        self.process.stdin.flush()
        status, seconds = json.loads(self.process.stdout.readline())
        return status, seconds


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.process.stdin.close()
    made.process.wait()


def test_twenty_kills_change_nothing(
    server: Server, tiny: Callable[..., Path], embedding: str, same_runs: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    recipe = tiny(embedding + '[[evaluate]]\nuse = "mixture"\nevery_kimg = 0.4\nimages = 64\n')
    longer = "kimg = 0.8\ncheckpoint_kimg = 0.096\ntick_kimg = 0.08"
    recipe.write_text(recipe.read_text().replace("kimg = 0.16", longer, 1))
    status, seconds = server.run("run", str(recipe), "--runs", "whole")
    assert status == 0, (tmp_path / "server.log").read_text()
    moments = random.Random(0)
    plan = [{"delay": moments.random()} for _ in range(KILLS - INSIDE_A_SAVE)]
    plan += [{"die_at": (moments.randint(1, 4), moments.randint(1, 40))} for _ in range(INSIDE_A_SAVE)]
    moments.shuffle(plan)
    killed, round, started = [], 0, 0
    while len(killed) < KILLS:  # a run that comes to its end before its kill makes room for the next one
        how = plan[len(killed)]
        how = {"delay": how["delay"] * seconds} if "delay" in how else how
        started += 1
        assert started < 10 * KILLS, killed
        status, _ = server.run("run", str(recipe), "--runs", f"cut{round}", **how)
        assert status in (0, -signal.SIGKILL), (tmp_path / "server.log").read_text()
        round += status == 0
        seconds *= 1 if status else 0.9  # the first run may have been slower than this one
        killed += [how] if status else []
    status, _ = server.run("run", str(recipe), "--runs", f"cut{round}")
    assert status == 0
    for i in range(round + 1):
        assert [path.name for path in (tmp_path / f"cut{i}").glob("[!.]*")] == ["0001-tiny"]
        same_runs(tmp_path / "whole" / "0001-tiny", tmp_path / f"cut{i}" / "0001-tiny")
        left = {path.name for path in (tmp_path / f"cut{i}" / "0001-tiny" / "checkpoints").iterdir()}
        assert len(left) == 2 and all(name.startswith("kimg-") for name in left)


def test_a_process_of_its_own_goes_on_after_a_kill(
    server: Server, tiny: Callable[..., Path], same_runs: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    recipe = str(tiny())
    assert server.run("run", recipe, "--runs", "whole")[0] == 0
    assert server.run("run", recipe, "--runs", "cut", die_at=(3, 5))[0] == -signal.SIGKILL
    command = [sys.executable, "-m", "distillkit", "run", recipe, "--runs", "cut"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resumed at" in done.stdout
    same_runs(tmp_path / "whole" / "0001-tiny", tmp_path / "cut" / "0001-tiny")


# The server.


def serve() -> None:
    import torch

    from distillkit.cli import main as command
    from distillkit.run import stage  # noqa: F401  torch and all it needs, once

    torch.optim.Adam([torch.zeros(1)])  # imports half of torch
    for line in sys.stdin:
        task = json.loads(line)
        start = time.perf_counter()
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)
            if task["die_at"]:
                die_inside_a_save(*task["die_at"])
            os._exit(command.main(task["argv"]))
        print(json.dumps([finish(child, task["delay"]), time.perf_counter() - start]), flush=True)


def finish(child: int, delay: float | None) -> int:
    """Wait for the child, or kill it after `delay` seconds -> its status."""
    if delay is not None:
        deadline = time.perf_counter() + delay
        while time.perf_counter() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die_inside_a_save(number: int, call: int) -> None:
    """The save of that number in this process dies at its call of that number; a shorter one, in the next save."""
    from distillkit.disk import checkpoint

    real, saves, left = checkpoint.save, [number], [call]

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return run

    def save(*args: Any, **options: Any) -> Any:
        saves[0] -= 1
        if saves[0] > 0:
            return real(*args, **options)
        kept = {name: getattr(os, name) for name in CALLS}
        for name, function in kept.items():
            setattr(os, name, deadly(function))
        try:
            return real(*args, **options)
        finally:
            for name, function in kept.items():
                setattr(os, name, function)

    checkpoint.save = save


if __name__ == "__main__":
    serve()
