"""What micro-batches cost: an iteration of digits_sid.toml cut into parts, beside bare passes of its network.

Usage: OMP_NUM_THREADS=1 python benchmarks/micro_batches.py [--repeats 20] [--set ...]    a table in Markdown
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from step_overhead import RECIPES, measure, ratio, taught, teacher

from distillkit.recipe import read
from distillkit.registry import Catalog
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.state import State

PARTS = (64, 32, 16, 8)  # images per pass, of a batch of 64


def make_state(folder: Path, micro: int, sets: list[str]) -> State:
    """digits_sid.toml on a teacher with random weights, in passes of `micro` images."""
    catalog = Catalog.installed()
    size = () if micro == PARTS[0] else (f"run.micro_batch={micro}",)
    recipe = read(RECIPES / "digits_sid.toml", (*size, *sets, "run.threads=1", 'run.device="cpu"'), catalog)
    return build(taught(recipe, folder), catalog)


def bare(state: State, micro: int) -> Callable[[], None]:
    """Forward and backward of a copy of the generator over the batch, `micro` images at a time, and nothing else."""
    network = copy.deepcopy(state.networks["generator"]).train().requires_grad_(True)
    x, sigma = torch.randn(state.batch, *state.dataset.shape), torch.ones(state.batch, 1, 1, 1)
    labels = torch.eye(state.dataset.label_dim)[torch.arange(state.batch) % state.dataset.label_dim]

    def passes() -> None:
        for part in zip(x.split(micro), sigma.split(micro), labels.split(micro), strict=True):
            network(*part).square().sum().backward()

    return passes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="iterations of each (%(default)s)")
    parser.add_argument("--set", action="append", default=[], dest="sets", help="as of distillkit run")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        teacher(Path(folder), Catalog.installed())
        states = {micro: make_state(Path(folder), micro, given.sets) for micro in PARTS}
    loops = {f"iteration {micro}": partial(iterate, state) for micro, state in states.items()}
    loops |= {f"network {micro}": bare(states[PARTS[0]], micro) for micro in PARTS}
    times = {name: found[:, 0] for name, found in measure(loops, given.repeats).items()}
    print("| images per pass | iteration, ms | of one pass | bare network, ms | of one pass |\n|---|---|---|---|---|")
    for micro in PARTS:
        cells = []
        for what in ("iteration", "network"):
            took, whole = times[f"{what} {micro}"], times[f"{what} {PARTS[0]}"]
            of = ratio(list(zip(took, whole, strict=True)))
            cells += [f"{np.median(took):.0f}", f"{of.median:.2f} ({of.low:.2f} ... {of.high:.2f})"]
        print(f"| {micro} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
