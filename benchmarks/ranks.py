"""What a second process costs: CPU time per image of batch 64 in one against batch 128 in two, and bytes on the wire.

    OMP_NUM_THREADS=1 python benchmarks/ranks.py [--pairs 15]        prints a table in Markdown

Alternating pairs, one thread each, iterations of SiD, and of SiD with EL, on a teacher of random weights; the time is
the sum of both processes', without their start.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import torch
from step_overhead import RECIPES, taught, teacher

from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.ranks import join
from distillkit.train.ranks.group import Group

WARM, COUNTED = 2, 5  # iterations
BATCH = 64  # of one process
ROWS = {"SiD": "digits_sid", "SiD + EL": "digits_sid_el"}


def worker(name: str, folder: Path, batch: int, pairs: int) -> None:
    """One process: for each line of its input some iterations, and their CPU seconds and bytes as a line of JSON."""
    torch.set_num_threads(1)
    ranks, catalog = join.join(), Catalog.installed()
    recipe = read(RECIPES / f"{name}.toml", [f"run.batch={batch}", 'run.device="cpu"'], catalog)
    state = build(attrs.evolve(taught(recipe, folder), evaluate=()), catalog, ranks)
    count = ranks.count if isinstance(ranks, Group) else {}
    for _ in range(WARM):
        iterate(state)
    for _ in range(pairs):
        sys.stdin.readline()
        count.clear()
        start = time.process_time()
        for _ in range(COUNTED):
            iterate(state)
        told = {"seconds": time.process_time() - start, "turns": COUNTED * len(state.turns)}
        params = sum(p.numel() for updater in state.updaters.values() for p in updater.params)
        print(json.dumps({**told, "count": count, "parameters": 4 * params}), flush=True)
    ranks.leave(well=True)


class Side:
    """So many processes that do the same recipe together."""

    def __init__(self, n: int, name: str, folder: Path, pairs: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        line = [sys.executable, __file__, "--worker", name, str(folder), str(n * BATCH), "--pairs", str(pairs)]
        several = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n)}
        self.images = n * BATCH * COUNTED
        envs = [{**os.environ, **several, "RANK": str(rank)} for rank in range(n)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.processes = [subprocess.Popen(line, env=env, **pipes) for env in envs]

    def once(self) -> tuple[float, dict[str, Any]]:
        """CPU seconds per image, and what the first process said."""
        for process in self.processes:
            process.stdin.write("\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
        said = [json.loads(process.stdout.readline()) for process in self.processes]  # type: ignore[union-attr]
        return sum(one["seconds"] for one in said) / self.images, said[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15, help="of each recipe (%(default)s)")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        name, folder, batch = args.worker
        return worker(name, Path(folder), int(batch), args.pairs)
    print("| | ms of CPU per image, one | two | ratio | sums, gathers an iteration | bytes of it | parameters' |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        teacher(Path(made), Catalog.installed())
        for title, name in ROWS.items():
            sides = [Side(n, name, Path(made), args.pairs) for n in (1, 2)]
            found = [[side.once() for side in sides] for _ in range(args.pairs)]
            one, two = (median(pair[i][0] for pair in found) for i in (0, 1))
            count, parameters = found[-1][1][1]["count"], found[-1][1][1]["parameters"]
            calls = ", ".join(f"{count.get(kind, [0])[0] / COUNTED:g}" for kind in ("sum", "gather"))
            wire = sum(nbytes for _, nbytes in count.values()) / COUNTED
            ratio = median(pair[1][0] / pair[0][0] for pair in found)
            cells = f"{1e3 * one:.3f}", f"{1e3 * two:.3f}", f"{ratio:.3f}", calls, f"{wire:,.0f}", f"{parameters:,}"
            print("|", " | ".join([title, *cells]), "|")


if __name__ == "__main__":
    main()
