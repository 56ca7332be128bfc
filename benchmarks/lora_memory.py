"""The peak memory of an iteration that trains adapters, as a share of one that trains all weights: planned, measured.

    OMP_NUM_THREADS=1 python benchmarks/lora_memory.py [MILLIONS]     100: two minutes, 5 GB

SiD on a teacher of random weights, a network of linear layers with (about) so many million parameters: the teacher, the
student, its average and the fake score. Measured by what torch's allocator tells its profiler, beside what is kept.
"""

from __future__ import annotations

import gc
import sys
from typing import Any

from compiled_memory import measured, planned

from distillkit.recipe.schema import Recipe
from distillkit.testing import toys
from distillkit.train.build import build

DEPTH, RANK = 8, 8


def recipe(millions: float, adapter: bool) -> Recipe:
    """SiD in the toy world, by adapters or by all weights."""
    width = round((millions * 1e6 / (DEPTH - 1)) ** 0.5)
    more: dict[str, Any] = {"adapter": {"use": "lora", "rank": RANK}} if adapter else {}
    return toys.toy_recipe(
        run={"batch": 16, "threads": 1, "device": "cpu"},
        dataset={"resolution": 8, "channels": 3, "label_dim": 0},
        teacher_score={"network": {"use": "mlp", "width": width, "depth": DEPTH}},
        generator=more, generator_loss={"use": "sid", "noise": "lognormal"},
    )  # fmt: skip


def main(millions: float = 100) -> None:
    found = {}
    for adapter in (False, True):
        asked = recipe(millions, adapter)
        found[adapter] = planned(asked), measured(build(asked, toys.catalog()))
        gc.collect()
        how = f"adapters of rank {RANK}" if adapter else "all weights"
        plan, seen = (number / 1e6 for number in found[adapter])
        print(f"{millions:g} M parameters, {how}: planned {plan:.1f} MB, measured {seen:.1f} MB", flush=True)
    plan, seen = (by / whole for by, whole in zip(found[True], found[False], strict=True))
    print(f"a share of {plan:.2f} by plan, {seen:.2f} measured")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
