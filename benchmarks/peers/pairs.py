"""Alternating pairs: two processes that each train one side, told in turn to take an iteration, in changing order.

Two processes, since what one side does to the allocator must not help, or hurt, the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from distillkit.plan.pairs import ratio

Iterate = Callable[[], object]
Sides = dict[str, Callable[[argparse.Namespace], Iterate]]  # "ours" and "theirs" -> what takes an iteration

WARM = 3  # iterations before the first that counts: moments are made, memory is taken


class Counter(TorchDispatchMode):
    """torch's table of FLOPs without its hooks on modules, which forbid torch.autograd.grad at leaves."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def options(doc: str, methods: tuple[str, ...] = ()) -> argparse.ArgumentParser:
    """Arguments that all scripts share; the first of `methods` is the default."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--checkout", help="folder with a checkout of the peer's repository")
    if methods:
        parser.add_argument("--method", choices=methods, default=methods[0])
    parser.add_argument("--rounds", type=int, default=15, help="pairs (%(default)s)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--channels", type=int, default=32, help="model_channels of EDM's U-Net (%(default)s)")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of each resolution of it (%(default)s)")
    parser.add_argument("--compile", action="store_true", help="ours with run.compile; theirs as it is")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of ours; theirs is fp32")
    parser.add_argument("--malloc", choices=("own", "kept", "plain"), default="own", help=(
        "own: ours keeps memory as its runs do, theirs has glibc's defaults; kept, plain: both the one or the other"
    ))  # fmt: skip
    parser.add_argument("--against-itself", action="store_true", help="ours on both sides: the noise of the method")
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    return parser


def compare(parser: argparse.ArgumentParser, sides: Sides, bounds: dict[str, float]) -> None:
    """Measure both sides and print medians, FLOPs, page faults and the ratio; `bounds`: what it is to be, by method."""
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.side:
        work(sides[args.side](args))
        return
    if not args.checkout and not args.against_itself:
        parser.error("--checkout is needed: a checkout of the peer's repository")
    second = "ours" if args.against_itself else "theirs"
    kept = {"own": ("1", "0"), "kept": ("1", "1"), "plain": ("0", "0")}[args.malloc]
    workers = {"ours": Worker("ours", kept[0]), "theirs": Worker(second, kept[1])}
    flops = {side: worker.ask("flops")["flops"] for side, worker in workers.items()}
    for worker in workers.values():
        worker.ask("warm")
    found: dict[str, list[list[float]]] = {side: [] for side in workers}
    for i in range(args.rounds):
        for side in list(workers) if i % 2 else list(workers)[::-1]:
            taken = workers[side].ask("go")
            found[side].append([taken["cpu"], taken["faults"], taken["peak"]])
    for worker in workers.values():
        worker.close()
    method = getattr(args, "method", "")
    report(method, args, flops, {side: np.array(rows) for side, rows in found.items()}, bounds[method])


class Worker:
    """A process that trains one side, one iteration each time it is asked."""

    def __init__(self, side: str, keeps_memory: str) -> None:
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        env = {**os.environ, **threads, "DISTILLKIT_MALLOC": keeps_memory}
        command = [sys.executable, *sys.argv, "--side", side]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def ask(self, what: str) -> dict[str, float]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin and stdout, "both are pipes"
        with suppress(BrokenPipeError):  # then it says nothing more either
            print(what, file=stdin, flush=True)
        for line in stdout:
            if line.startswith("{"):  # the peer may print
                answer: dict[str, float] = json.loads(line)
                return answer
        raise SystemExit("a side ended; what it said is above")

    def close(self) -> None:
        assert self.process.stdin, "a pipe"
        self.process.stdin.close()
        self.process.wait()


def work(iterate: Iterate) -> None:
    """Answer the questions of `Worker` until there are no more."""
    for line in sys.stdin:
        if line.strip() == "flops":
            iterate()
            with Counter() as counter:
                iterate()
            answer = {"flops": float(counter.total)}
        elif line.strip() == "warm":
            for _ in range(WARM):
                iterate()
            answer = {}
        else:
            answer = taken(iterate)
        print(json.dumps(answer), flush=True)


def taken(iterate: Iterate) -> dict[str, float]:
    """Milliseconds and page faults of an iteration."""
    faults, wall, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter(), time.process_time()
    iterate()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"cpu": 1e3 * cpu, "wall": 1e3 * wall, "faults": float(faults), "peak": peak / 1024}


def report(
    method: str, args: argparse.Namespace, flops: dict[str, float], found: dict[str, np.ndarray], bound: float
) -> None:
    where = f"torch {torch.__version__}, {processor()}, one thread, malloc: {args.malloc}"
    of_ours = f"ours {args.precision}{' compiled' if args.compile else ''}"
    size = f"batch {args.batch}, {args.channels} channels, {args.blocks} blocks, {args.rounds} pairs"
    print(f"{where}; {size}; {of_ours}")
    print(f"{method:8} {'CPU ms':>10} {'GFLOP':>8} {'page faults':>12} {'peak MB':>8}")
    for side, rows in found.items():
        cpu, faults, peak = np.median(rows, axis=0)
        print(f"{side:8} {cpu:10.1f} {flops[side] / 1e9:8.2f} {faults:12.0f} {peak:8.0f}")
    of = ratio(list(zip(found["ours"][:, 0], found["theirs"][:, 0], strict=True)))
    word = "reached" if of.median <= bound else "missed"
    print(f"ratio    {of.median:10.3f}   95 %: {of.low:.3f} ... {of.high:.3f}   bound {bound}: {word}")


def processor() -> str:
    """What Linux calls it, elsewhere its kind."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
