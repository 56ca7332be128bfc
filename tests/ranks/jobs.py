"""Toy runs by the real command on several processes, to be stopped, killed and cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

TOY = """
schema = 1
[run]
kimg = {kimg}
batch = 32
device = "cpu"
threads = 1
grid = 4
tick_kimg = 0.64
checkpoint_kimg = 1.28
precision = "{precision}"
[dataset]
use = "gaussian-mixture"
size = 64
[teacher_score]
use = "gaussian-mixture"
[generator]
init = "scratch"
ema = "power"
[generator.network]
use = "mlp"
width = 16
depth = 2
[generator.optimizer]
lr = 1e-3
[sample]
use = "one-step"
[generator_loss]
use = "{loss}"
noise = "lognormal"
alpha = 1.0
lr = 1e-3
[[auxiliary_loss]]
use = "embedding"
real_batch = 32
[[auxiliary_loss.embeddings]]
use = "pixels"
"""
CLOCK = {"seconds": 0, "img_per_sec": 0, "check": ""}  # in the place of what differs from run to run


def recipe(folder: Path, kimg: float = 6.4, precision: str = "fp32", loss: str = "sid") -> Path:
    """SiD and the Embedding Loss on eight Gaussians: 200 iterations of 32 points, five checkpoints."""
    path = folder / "toy.toml"
    path.write_text(TOY.format(kimg=kimg, precision=precision, loss=loss))
    return path


class Job:
    """One launcher, or one process, and what it says."""

    def __init__(
        self, path: Path, runs: Path, *more: str, wrap: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        argv = [*wrap, sys.executable, "-m", "distillkit", "run", str(path), "--runs", str(runs), *more]
        places = {"OMP_NUM_THREADS": "1", "TMPDIR": str(runs.parent), **(env or {})}
        self.runs, self.begun = runs, time.monotonic()
        self.process = subprocess.Popen(
            argv, env=os.environ | places, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    @property
    def run(self) -> Path:
        return next(iter(self.runs.glob("*-toy")))

    def ranks(self) -> dict[int, int]:
        """Process of each rank that lives."""
        found: dict[int, int] = {}
        for pid in below(self.process.pid):
            try:
                pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            ranks = [int(pair[5:]) for pair in pairs if pair.startswith(b"RANK=")]
            if ranks and state != "Z":
                found.setdefault(ranks[0], pid)
        return found

    def nimg(self) -> int:
        """Images of the newest row of its log."""
        rows = [row for path in self.runs.glob("*-toy/metrics.jsonl") for row in rows_of(path)]
        return max((row["nimg"] for row in rows), default=0)

    def until(self, true: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for it to come true while the job runs."""
        end = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.process.stdout.read()}"
            assert time.monotonic() < end, "it never came to be"
            time.sleep(0.02)

    def training(self, nimg: int = 640) -> dict[int, int]:
        """Wait until it trains -> the process of each rank."""
        self.until(lambda: self.nimg() >= nimg)
        return self.ranks()

    def end(self, seconds: float = 240) -> tuple[int, str]:
        """Exit code, and all that was said."""
        said = self.process.communicate(timeout=seconds)[0]
        return self.process.returncode, said

    def close(self) -> None:
        """End all that is left of it."""
        for pid in [*below(self.process.pid), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.communicate()


def below(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            own = [int(word) for word in children.read_text().split()]
        except OSError:
            continue
        found += own + [one for child in own for one in below(child)]
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a log, but a last one that is being written."""
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def exit_of(run: Path) -> dict[str, Any]:
    """How a run says that it ended; {}: it could not."""
    path = run / "exit.json"
    return json.loads(path.read_text()) if path.exists() else {}


def outcome(run: Path) -> dict[str, Any]:
    """What a finished run computed: bytes of the student and of the last checkpoint, rows of metrics."""
    last = sorted((run / "checkpoints").glob("kimg-*"))[-1]
    found: dict[str, Any] = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    found["student"] = (run / "result" / "student.safetensors").read_bytes()
    rows = rows_of(run / "metrics.jsonl")
    return found | {"rows": [{key: CLOCK.get(key, value) for key, value in row.items()} for row in rows]}
