"""`python -m tests.ranks.kills --n 20`: a rank of a run on two is killed at random; it ends in the same bits."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = ["run", "gaussians_sid", "--set", "run.kimg=100", "--set", "run.checkpoint_kimg=5", "--nproc", "2"]


def start(runs: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "distillkit", *RUN, "--runs", str(runs), *more]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def bits(runs: Path) -> str:
    """A hash of the student; "none" where there is none."""
    made = next(runs.glob("*/result/student.safetensors"), None)
    return "none" if made is None else hashlib.sha256(made.read_bytes()).hexdigest()


def kill(launcher: subprocess.Popen[bytes], rank: int) -> bool:
    """End that rank by SIGKILL -> whether it was there."""
    for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        if f"\0RANK={rank}\0" in "\0" + Path(f"/proc/{child}/environ").read_text():
            os.kill(int(child), signal.SIGKILL)
            return True
    return False


def trial(runs: Path, seconds: float, draw: random.Random) -> str:
    """One run with one kill, anywhere from the first import to the last save -> what became of it."""
    launcher, delay, rank = start(runs, "--restarts", "1"), seconds * draw.random(), draw.randrange(2)
    time.sleep(delay)
    hit = launcher.poll() is None and kill(launcher, rank)
    code = launcher.wait()
    killed = f"rank {rank} after {delay:4.1f} s" if hit else "nobody: it had ended"
    return f"killed {killed}; exit code {code}; {bits(runs)[:12]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, same = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        whole, begun = Path(folder, "whole"), time.monotonic()
        code = start(whole).wait()
        seconds = 0.9 * (time.monotonic() - begun)
        wanted = bits(whole)
        print(f"undisturbed: exit code {code}; {wanted[:12]}", flush=True)
        for i in range(args.n):
            told = trial(Path(folder, str(i)), seconds, draw)
            same += told.endswith(f"exit code 0; {wanted[:12]}")
            print(f"{i:2}  {told}", flush=True)
    print(f"{same} of {args.n} ended in the same bits")
    return 0 if same == args.n else 1


if __name__ == "__main__":
    sys.exit(main())
