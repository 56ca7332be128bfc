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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins/distillkit-edm/tests"))

SECONDS, SHARE = 2.0, 1.3  # of the file's size in memory
ARGUMENTS = {
    "img_resolution": 32, "img_channels": 3, "label_dim": 10, "use_fp16": False, "model_type": "SongUNet",
    "model_channels": 128, "channel_mult": [2, 2, 2], "augment_dim": 9, "dropout": 0.13,
}  # fmt: skip


def write(path: Path) -> None:
    """The network of edm-cifar10-32x32-cond-vp.pkl with random weights."""
    from distillkit_edm.networks import DdpmPP
    from nvidia_files import Writer

    net = DdpmPP(DdpmPP.Config(channel_mult=(2, 2, 2), augment_dim=9, dropout=0.13)).module(32, 3, 10)
    assert sum(p.numel() for p in net.parameters()) == 55_735_299
    with open(path, "wb") as file:
        Writer(file, lambda meta: meta["state"].update(_init_kwargs=ARGUMENTS)).dump({"ema": net})


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
    from nvidia_files import snapshot

    from distillkit.engine.foreign import convert
    from distillkit.registry import Catalog

    small, catalog = path.with_name(f"small-{what}.pkl"), Catalog.installed()
    small.write_bytes(snapshot())
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
        return write(Path(sys.argv[2])) if sys.argv[1] == "write" else measure(sys.argv[1], Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "network.pkl"))
        for what in ("write", "read", "read", "read", "convert"):
            subprocess.run([sys.executable, __file__, what, path], check=True)
            if what == "write":
                print(f"{Path(path).stat().st_size / 1e6:.1f} MB; at most {SECONDS} s and {SHARE} x to read")


if __name__ == "__main__":
    main()
