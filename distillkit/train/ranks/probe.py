"""`python -m distillkit.train.ranks.probe RUNS TOLD`: tries what ranks do, and writes what it found as JSON."""

from __future__ import annotations

import json
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import torch

from distillkit.api import DistillkitError
from distillkit.train.ranks.ending import Ending
from distillkit.train.ranks.group import Group
from distillkit.train.ranks.join import join

NUMBERS = 2**22  # float32, 16 MB: about what is summed at once in a run
REPEATS = 5


def main(runs: Path, told: Path) -> int:
    """Join, try everything -> exit code."""
    ranks = join()
    ranks.hurry()  # nothing here takes long: who is silent is told at once
    wrote = ranks.share(lambda: _write(runs))
    facts = {
        "hosts": gathered(ranks, socket.gethostname()), "gb_per_s": _speed(ranks), "clocks": _clocks(ranks),
        "sees": gathered(ranks, wrote is not None and wrote.is_file()), "wrote": wrote is not None,
        "backend": "NCCL and gloo" if torch.cuda.is_available() else "gloo",
    }  # fmt: skip
    if ranks.first:
        told.write_text(json.dumps(facts), encoding="utf-8")
        if wrote is not None:  # all have looked: their answers are in `facts`
            wrote.unlink()
    ranks.leave(well=True)
    return 0


def gathered(ranks: Any, thing: Any) -> list[Any]:
    """The things of all ranks."""
    return ranks.wire.collect(thing) if isinstance(ranks, Group) else [thing]


def _write(runs: Path) -> Path | None:
    """A file that the first rank writes where runs are; None where it cannot."""
    path = runs / f".seen-by-all-{uuid.uuid4().hex}"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:
        return None
    return path


def _speed(ranks: Any) -> float:
    """GB/s of a sum over ranks, the median; 2 (N-1) / N of the numbers go over the wire, as NCCL's tests count."""
    x = torch.zeros(NUMBERS, device="cuda" if torch.cuda.is_available() else "cpu")
    seconds = []
    for _ in range(REPEATS):
        # All begin together, or the wait for the slowest would be taken for the wire.
        gathered(ranks, None)
        begun = time.perf_counter()
        ranks.sum_([x])
        if x.is_cuda:
            torch.cuda.synchronize()  # NCCL returns before the numbers are there
        seconds.append(time.perf_counter() - begun)
    share = 2 * (ranks.size - 1) / ranks.size
    return float(share * x.numel() * x.element_size() / sorted(seconds)[REPEATS // 2] / 1e9)


def _clocks(ranks: Any) -> list[float]:
    """Seconds by which each clock is ahead of the first, as well as one message after another tells."""
    gathered(ranks, None)  # the first message also connects, which takes its time
    times = gathered(ranks, time.time())
    return [round(one - times[0], 3) for one in times]


if __name__ == "__main__":
    ending = Ending()
    try:
        ending.code = main(Path(sys.argv[1]), Path(sys.argv[2]))
    except DistillkitError as error:
        print(f"error: {error}", file=sys.stderr)
        ending.code = error.exit_code
    raise SystemExit(ending.code)
