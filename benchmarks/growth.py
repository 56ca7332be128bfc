"""How the cost of an iteration grows: with the batch, the resolution, the number of images, the micro-batches.

Usage: OMP_NUM_THREADS=1 python benchmarks/growth.py [--rounds 15] [--tiny]        prints tables in Markdown

SiD with a small EDM network on images in memory. The variants of a table take an iteration each in turn; figures are
medians of CPU time on one thread. A data set of millions of images is a small one that says it is large.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distillkit import noise
from distillkit.testing import toy_state
from distillkit.train.iterate import iterate
from distillkit.train.state import State

SIZES = {"1 k": 1_000, "1.28 M": 1_281_167, "10 M": 10_000_000}
BOUND = 0.5  # ms an iteration for the order of data


class Large:
    """A data set of `size` images, which are those of a small one again and again."""

    def __init__(self, small: Any, size: int) -> None:
        self.small, self.size = small, size

    def __getattr__(self, name: str) -> Any:
        return getattr(self.small, name)

    def __len__(self) -> int:
        return self.size

    def sampled(self, index: Tensor, noise: Callable[..., Tensor]) -> Tensor:
        return self.small.sampled(index % len(self.small), noise)

    def labels(self, index: Tensor) -> Tensor | None:
        return self.small.labels(index % len(self.small))


def started(batch: int = 64, resolution: int = 16, micro_batch: int | None = None, loss: str = "sid") -> State:
    attention = resolution // 2
    unet = {
        "use": "edm-ddpmpp", "model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1, "dropout": 0.1,
        "attn_resolutions": [attention] if attention <= 16 else [],
    }  # fmt: skip
    micro = {} if micro_batch is None else {"micro_batch": micro_batch}
    return toy_state(
        run={"kimg": 1000, "batch": batch, "device": "cpu", **micro},
        dataset={"use": "toy", "resolution": resolution, "channels": 3, "label_dim": 10, "size": 1000},
        teacher_score={"network": unet}, generator_loss={"use": loss}, generator={"init": "teacher"},
    )  # fmt: skip


def large(size: int) -> State:
    """ECT, which asks for real images too."""
    state = started(loss="ect")
    state.dataset = Large(state.dataset, size)
    return state


class Order:
    """CPU seconds that the order of data takes."""

    def __init__(self) -> None:
        self.seconds, self.real = 0.0, noise.shuffled
        noise.shuffled = self

    def __call__(self, *args: Any) -> Tensor:
        start = time.process_time()
        found = self.real(*args)
        self.seconds += time.process_time() - start
        return found


def medians(states: dict[str, State], rounds: int) -> dict[str, tuple[float, float]]:
    """Median CPU milliseconds of an iteration, and of the order of data in it, by variant."""
    order = Order()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in states}
    names = list(states)
    for i in range(rounds + 2):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            order.seconds, start = 0.0, time.process_time()
            iterate(states[name])
            found[name].append((1e3 * (time.process_time() - start), 1e3 * order.seconds))
    noise.shuffled = order.real
    return {name: tuple(np.median(rows[2:], axis=0).tolist()) for name, rows in found.items()}  # the first ones warm up


def table(title: str, variants: dict[str, Callable[[], State]], images: dict[str, int], rounds: int) -> dict[str, Any]:
    """Print a table and give its figures; `images` by variant: of a batch."""
    found = medians({name: make() for name, make in variants.items()}, rounds)
    first = found[next(iter(found))][0]
    print(
        f"\n| {title} | ms an iteration | of the first | ms an image | ms of it for the order of data |\n|{'---|' * 5}"
    )
    for name, (total, order) in found.items():
        print(f"| {name} | {total:.1f} | {total / first:.2f} | {total / images[name]:.3f} | {order:.3f} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="iterations of each variant (%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="a batch of 16 and 8 px at most: whether it runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, {args.rounds} rounds")
    batches, pixels, batch = ((8, 16), (4, 8), 16) if args.tiny else ((16, 32, 64, 128), (8, 16, 32), 64)
    of = partial(started, batch=batch)
    sides = {f"{n}": partial(started, batch=n, resolution=pixels[-2]) for n in batches}
    table("batch", sides, {f"{n}": n for n in batches}, args.rounds)
    table("px", {f"{p}": partial(of, resolution=p) for p in pixels}, {f"{p}": batch for p in pixels}, args.rounds)
    parts = {"none": None, "half": batch // 2, "a quarter": batch // 4, "an eighth": batch // 8}
    variants = {name: partial(of, micro_batch=micro, resolution=pixels[-2]) for name, micro in parts.items()}
    table("micro-batches", variants, dict.fromkeys(parts, batch), args.rounds)
    sizes: dict[str, Callable[[], State]] = {name: partial(large, size) for name, size in SIZES.items()}
    found = table("images, ECT", sizes, dict.fromkeys(SIZES, 64), args.rounds)
    worst = max(order for _, order in found.values())
    print(f"\norder of data: {worst:.3f} ms at most, bound {BOUND}: {'reached' if worst <= BOUND else 'missed'}")


if __name__ == "__main__":
    main()
