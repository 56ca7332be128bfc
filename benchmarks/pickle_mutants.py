"""Thousands of damaged pickles through the reader: each must be read or refused, within a second.

Usage: OMP_NUM_THREADS=1 python benchmarks/pickle_mutants.py [--first 0] [--count 20000]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins/distillkit-edm/tests"))

from distillkit_edm.nvpickle import UnsafeFile, read_pickle
from nvidia_files import snapshot
from nvidia_hostile import unframed
from nvidia_mutants import mutant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, metavar="SEED")
    parser.add_argument("--count", type=int, default=20_000)
    arguments = parser.parse_args()
    found, slowest = Counter[str](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder, "network.pkl"), unframed(snapshot())
        for seed in range(arguments.first, arguments.first + arguments.count):
            path.write_bytes(mutant(data, random.Random(seed)))
            start = time.perf_counter()
            try:
                read_pickle(path)
                found["read: the change is in a weight, a text, or an attribute that is not used"] += 1
            except UnsafeFile:
                found["refused"] += 1
            except BaseException as error:
                print(f"seed {seed}: {type(error).__name__}: {error}")
                raise
            slowest = max(slowest, time.perf_counter() - start)
    for what, count in found.most_common():
        print(f"{count:7} {what}")
    print(f"slowest {slowest:.2f} s")


if __name__ == "__main__":
    main()
