"""What reading a released network costs: a pickle of 55.7 M parameters as EDM's training writes it, read and converted.

Usage: OMP_NUM_THREADS=1 python benchmarks/pickle_reader.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS, SHARE = 2.0, 1.3  # of the file's size in memory
CIFAR10 = {"channel_mult": [2, 2, 2], "augment_dim": 9, "dropout": 0.13}  # of edm-cifar10-32x32-cond-vp.pkl
SMALL = {"model_channels": 4, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": []}


def write(path: Path, keys: dict[str, Any]) -> int:
    """A DDPM++ with random weights -> its parameters."""
    from distillkit_edm.nvpickle.write import pickled

    from distillkit.networks import network_file
    from distillkit.recipe import choice_from_table
    from distillkit.registry import Catalog

    choice = choice_from_table("network", {"use": "edm-ddpmpp", **keys}, Catalog.installed(), "here")
    net = network_file.new_network(choice, 32, 3, 10)
    path.write_bytes(pickled(net))
    return sum(p.numel() for p in net.parameters())


def peak() -> int:
    """Most memory that this process had since `reset`, in bytes, mapped files included."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def measured(function: Callable[[], Any]) -> tuple[float, int]:
    """Seconds, and bytes over what the process had before."""
    Path("/proc/self/clear_refs").write_text("5")
    before, start = peak(), time.perf_counter()
    function()
    return time.perf_counter() - start, peak() - before


def measure(what: str, path: Path) -> None:
    """One line: what, seconds, share of the file's size in memory. Runs in a process of its own."""
    from distillkit_edm.nvpickle import read_pickle

    from distillkit.networks.imported import convert
    from distillkit.registry import Catalog

    small, catalog = path.with_name(f"small-{what}.pkl"), Catalog.installed()
    write(small, SMALL)
    jobs = {
        "read": lambda file: read_pickle(file),
        "convert": lambda file: convert(file, file.with_name(f"{file.stem}-{what}"), catalog),
    }
    jobs[what](small)  # imports what is imported late
    seconds, size = measured(lambda: jobs[what](path))
    share = size / path.stat().st_size
    kept = what != "read" or (seconds <= SECONDS and share <= SHARE)
    print(f"{what:8} {seconds:6.2f} s  {share:5.2f} x file size{'' if kept else '  OVER THE BOUND'}")


def main() -> None:
    if sys.argv[1:]:
        return measure(sys.argv[1], Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.pkl")
        size = write(path, CIFAR10)
        assert size == 55_735_299
        print(f"{size:,} parameters, {path.stat().st_size / 1e6:.1f} MB; at most {SECONDS} s and {SHARE} x to read")
        for what in ("read", "read", "read", "convert"):
            subprocess.run([sys.executable, __file__, what, str(path)], check=True)


if __name__ == "__main__":
    main()
