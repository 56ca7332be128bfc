"""What data cost: images a second that `image-zip` gives, decoded before, at use or ahead, and the share of training.

Usage: OMP_NUM_THREADS=1 python benchmarks/loader.py [--pairs 15]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image

from distillkit.api import Dataset
from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.state import State

IMAGES, BATCH = 1024, 64
KEYS = {
    "memory": 'memory = "memory"',
    "file": 'memory = "file"\nworkers = 0',
    "file, 2 workers": 'memory = "file"\nworkers = 2',
}
RECIPE = """schema = 1
[dataset]
use = "image-zip"
path = "{px}.zip"
{keys}
[generator]
init = "scratch"
[generator.network]
use = "edm-ddpmpp"
model_channels = 8
channel_mult = [1, 2]
num_blocks = 1
attn_resolutions = [4]
[generator_loss]
use = "ect"
[sample]
use = "one-step"
[run]
kimg = 64
batch = 64
threads = 1
"""


def write_zip(px: int) -> None:
    """Smooth images under a little noise: PNGs of them deflate about as photos do."""
    rng = np.random.default_rng(px)
    with ZipFile(f"{px}.zip", "w") as archive:
        for i in range(IMAGES):
            coarse = np.clip(128 + 40 * rng.normal(size=(8, 8, 3)), 0, 255).astype(np.uint8)
            smooth = np.asarray(Image.fromarray(coarse).resize((px, px), Image.Resampling.BICUBIC))
            u = np.clip(smooth + 4 * rng.normal(size=smooth.shape), 0, 255).astype(np.uint8)
            Image.fromarray(u).save(png := BytesIO(), "png")
            archive.writestr(f"{i:05d}.png", png.getvalue())


def state(px: int, name: str) -> State:
    path = Path(f"{px}-{name}.toml")
    path.write_text(RECIPE.format(px=px, keys=KEYS[name]))
    return build(read(path), Catalog.installed())


def timed(works: Mapping[str, Callable[[], None]], pairs: int) -> dict[str, tuple[float, float]]:
    """Medians of wall and CPU seconds of each work, in turn and in changing order."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for work in works.values():
        work()
    for pair in range(pairs):
        for name in list(works)[:: 1 if pair % 2 else -1]:
            wall, cpu = time.perf_counter(), time.process_time()
            works[name]()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    return {name: (wall, cpu) for name, (wall, cpu) in medians.items()}


def reading(dataset: Dataset) -> Callable[[], None]:
    """All images once, in batches of a random order."""
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0)).split(BATCH)

    def work() -> None:
        for i, index in enumerate(order):
            dataset.images(index)
            if dataset.looks_ahead:
                dataset.ahead(order[(i + 1) % len(order)])

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    print("| px | memory | img/s alone: wall | CPU | ms an iteration: wall | CPU |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for px in (32, 64):
            write_zip(px)
            states = {name: state(px, name) for name in KEYS}
            alone = timed({name: reading(s.dataset) for name, s in states.items()}, pairs)
            runs = timed({name: partial(iterate, s) for name, s in states.items()}, pairs)
            for name in states:
                speeds = " | ".join(f"{IMAGES / seconds:,.0f}" for seconds in alone[name])
                print(f"| {px} | {name} | {speeds} | {' | '.join(f'{1e3 * s:.0f}' for s in runs[name])} |")
        os.chdir("/")


if __name__ == "__main__":
    main()
