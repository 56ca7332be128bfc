"""How many CPU threads are fastest here: on a busy machine, two can be many times slower than one."""

from __future__ import annotations

import math
import os
import time

import torch

REPEATS = 5
FIGHT = 4  # times as long as with the best number


def choose(limit: int | None = None) -> int:
    """The fastest of 1, 2, 4, ... threads on a small network's kind of work, measured for a fraction of a second."""
    limit = limit or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= limit]
    if counts == [1]:
        return 1
    times: dict[int, float] = {}
    for n in counts:
        torch.set_num_threads(n)
        times[n] = probe(FIGHT * min(times.values(), default=math.inf))
        if times[n] > FIGHT * min(times.values()):
            break  # threads fight for cores: more of them only take longer
    # One thread is the steadier choice: more must be clearly faster.
    best = min(times, key=lambda n: times[n] * (1.0 if n == 1 else 1.15))
    torch.set_num_threads(best)
    return best


@torch.no_grad()
def probe(most: float = math.inf) -> float:
    """Seconds of the median repeat of a few convolutions and element-wise passes.

    Where it is above `most` for certain, any such number: of threads that fight a repeat takes seconds.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 16, 8, 8, generator=generator)
    w = torch.randn(16, 16, 3, 3, generator=generator)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        for _ in range(8):
            x = torch.nn.functional.silu(torch.nn.functional.conv2d(x, w, padding=1) * 0.1)
        seconds.append(time.perf_counter() - start)
        if sum(one > most for one in seconds) > REPEATS // 2:
            return min(one for one in seconds if one > most)
    return sorted(seconds)[REPEATS // 2]
