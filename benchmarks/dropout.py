"""What dropout by number costs: passes of the digits U-Net, beside the same with torch's dropout and without any.

Usage: OMP_NUM_THREADS=1 python benchmarks/dropout.py [--repeats 100] [--batch 64] [--device cuda]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distillkit import noise
from distillkit.networks import network_file
from distillkit.recipe import read
from distillkit.registry import Catalog

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "digits_teacher.toml"
TARGET = 1.02  # of a pass with torch's dropout
P = 0.13


def none(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    return x


def passes(batch: int, device: str, backward: bool) -> dict[str, Callable[[], None]]:
    """One pass of the network in training, by the kind of its dropout."""
    catalog = Catalog.installed()
    recipe = read(RECIPE, (f"generator.network.dropout={P}",), catalog)
    network = network_file.new_network(recipe.generator.network, 8, 1, 10).train().to(device)
    x, sigma = torch.randn(batch, 1, 8, 8, device=device), torch.ones(batch, 1, 1, 1, device=device)
    labels = torch.eye(10, device=device)[torch.arange(batch) % 10]

    def one(dropout: Callable[..., Tensor]) -> None:
        with patch.object(noise, "dropout", dropout), noise.masks(0, 0, batch, device):
            with torch.set_grad_enabled(backward):
                D = network(x, sigma, labels)
            if backward:
                torch.autograd.grad(D.square().sum(), list(network.parameters()))
            if device != "cpu":
                torch.cuda.synchronize()

    kinds = {"none": none, "torch": F.dropout, "by number": noise.dropout}
    return {name: lambda dropout=dropout: one(dropout) for name, dropout in kinds.items()}


def measure(loops: dict[str, Callable[[], None]], repeats: int, clock: Callable[[], float]) -> dict[str, np.ndarray]:
    """Milliseconds [repeats] of each, one of each in turn, in changing order."""
    times: dict[str, list[float]] = {name: [] for name in loops}
    order = list(loops)
    for i in range(repeats + 5):
        for name in order[i % len(order) :] + order[: i % len(order)]:
            start = clock()
            loops[name]()
            times[name].append(1e3 * (clock() - start))
    return {name: np.array(found[5:]) for name, found in times.items()}  # the first ones warm up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    clock = time.process_time if args.device == "cpu" else time.perf_counter
    print(f"medians of {args.repeats}, batch {args.batch}, dropout {P}, {args.device}, torch {torch.__version__}")
    for backward in (False, True):
        times = measure(passes(args.batch, args.device, backward), args.repeats, clock)
        print("\nforward and backward" if backward else "\nforward")
        for name, found in times.items():
            of_none, of_torch = (np.median(found / times[base]) for base in ("none", "torch"))
            print(f"  {name:10} {np.median(found):7.2f} ms   {of_none:.3f} of none   {of_torch:.3f} of torch's")
        ratio = float(np.median(times["by number"] / times["torch"]))
        print(f"  target: at most {TARGET} of torch's: {'met' if ratio <= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
