"""`python -m tests.ranks.failures kills --n 20 --seed 0 | stop | cut`: what the design promises of failures, tried.

kills: `kill -9` of a random rank at a random time, with --restarts: the run ends in the bits of one left alone.
stop: SIGSTOP of a rank: exit 6 within the timeout and 60 s. cut: the link between two machines, which are network
namespaces (root, iproute2), is taken down: exit 6 on both within the timeout and 60 s.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ranks.jobs import Job, exit_of, outcome, recipe

TIMEOUT = 10.0  # seconds that a rank may be silent
ALLOWED = TIMEOUT + 60  # that all others may take to leave
MASTER = "10.78.0.1"


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.ranks.failures")
    parser.add_argument("what", choices=["kills", "stop", "cut"])
    parser.add_argument("--n", type=int, default=20, help="kills (20)")
    parser.add_argument("--nproc", type=int, default=2, help="ranks (2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rank", type=int, help="which to stop (each in turn)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="distillkit-failures-") as name:
        folder = Path(name)
        if args.what == "kills":
            return kills(folder, args.n, args.nproc, args.seed)
        if args.what == "stop":
            return stop(folder, args.nproc, range(args.nproc) if args.rank is None else [args.rank])
        return cut(folder)


def kills(folder: Path, n: int, nproc: int, seed: int) -> int:
    path, rng, well = recipe(folder), random.Random(seed), 0
    job = Job(path, folder / "whole", "--nproc", str(nproc))
    code, said = job.end()
    assert code == 0, said
    want = outcome(job.run)
    for k in range(n):
        # By images, not by time: a machine that is busy would be struck at its start again and again.
        runs, images, rank = folder / f"run-{k}", rng.uniform(-0.2, 0.95) * 6400, rng.randrange(nproc)
        job = Job(path, runs, "--nproc", str(nproc), "--restarts", "3", "--timeout", f"{TIMEOUT:g}")
        job.until(lambda: rank in job.ranks() and job.nimg() >= images)  # noqa: B023
        time.sleep(rng.uniform(0, 0.5 if images > 0 else 5))
        nimg, there = job.nimg(), job.ranks()
        if rank in there:
            os.kill(there[rank], signal.SIGKILL)
        code, said = job.end()
        found = outcome(job.run) if code == 0 else {}
        unlike = [name for name in want if found.get(name) != want[name]]
        good = code == 0 and not unlike
        well += good
        again = said.count("starting again")
        print(
            f"{k:2}: rank {rank} killed at {nimg} images"
            f"{'' if rank in there else ' (it had ended)'}: exit {code}, {again} restarts, "
            + ("the same bits" if good else f"NOT the same: {unlike}\n{said}"), flush=True,
        )  # fmt: skip
        job.close()
        shutil.rmtree(runs, ignore_errors=True)
    print(f"{well} of {n} ended in the bits of the unbroken run")
    return int(well < n)


def stop(folder: Path, nproc: int, ranks: Iterable[int]) -> int:
    bad = 0
    for rank in ranks:
        job = Job(
            recipe(folder, kimg=1000), folder / f"stop-{rank}", "--nproc", str(nproc), "--timeout", f"{TIMEOUT:g}"
        )
        os.kill(job.training()[rank], signal.SIGSTOP)
        start = time.monotonic()
        code, said = job.end()
        seconds = time.monotonic() - start
        bad += code != 6 or seconds > ALLOWED
        print(f"rank {rank} of {nproc} stopped: exit {code} after {seconds:.0f} s (at most {ALLOWED:g} s)")
        print(f"  {said.strip().splitlines()[-1]}\n  exit.json: {exit_of(job.run) or 'none'}", flush=True)
        job.close()
    return bad


def cut(folder: Path) -> int:
    if why := no_namespaces():
        print(f"skipped: {why}")
        return 0
    with two_machines() as (here, there):
        path, jobs = recipe(folder, kimg=1000), []
        for node, machine in enumerate((here, there)):
            more = f"--nproc 1 --nnodes 2 --node-rank {node} --master {MASTER}:29431 --timeout {TIMEOUT:g}".split()
            wrap = ["ip", "netns", "exec", machine]
            jobs.append(Job(path, folder / f"node-{node}" / "runs", *more, wrap=wrap))
        jobs[0].training()
        ip("-n", there, "link", "set", "dkw1", "down")
        start, bad = time.monotonic(), 0
        for node, job in enumerate(jobs):
            code, said = job.end()
            seconds = time.monotonic() - start
            bad += code != 6 or seconds > ALLOWED
            print(f"link cut: node {node} exit {code} after {seconds:.0f} s (at most {ALLOWED:g} s)")
            print(f"  {said.strip().splitlines()[-1]}", flush=True)
            job.close()
    return bad


def no_namespaces() -> str:
    """Why two machines cannot be had here; "": they can."""
    if os.name != "posix" or os.geteuid() or shutil.which("ip") is None:
        return "two machines are two network namespaces: needs root and iproute2"
    tried = subprocess.run(["ip", "netns", "add", f"dk-try-{os.getpid()}"], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", f"dk-try-{os.getpid()}"], capture_output=True, check=False)
    return f"no network namespaces here: {tried.stderr.strip()[:200]}" if tried.returncode else ""


@contextmanager
def two_machines() -> Iterator[tuple[str, str]]:
    """Names of two namespaces, MASTER and 10.78.0.2, joined by a pair of virtual interfaces, dkw0 and dkw1."""
    names = f"dk-m0-{os.getpid()}", f"dk-m1-{os.getpid()}"
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "dkw0", "netns", names[0], "type", "veth", "peer", "name", "dkw1", "netns", names[1])
        for k, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.78.0.{k + 1}/24", "dev", f"dkw{k}")
            ip("-n", name, "link", "set", f"dkw{k}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
