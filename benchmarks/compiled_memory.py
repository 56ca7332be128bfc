"""The peak memory of an iteration with `run.compile`, planned and measured: what torch's compiler keeps may change.

    OMP_NUM_THREADS=1 python benchmarks/compiled_memory.py        compiles for minutes

SiD on a teacher of random weights: of digits' size (8 px, batch 64), and of 32 px (batch 16). Measured by what torch's
allocator tells its profiler, beside what is kept between iterations.
"""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from distillkit.dry.meta import blank
from distillkit.plan import dry
from distillkit.recipe.schema import Recipe
from distillkit.testing import toys
from distillkit.train.build import build
from distillkit.train.iterate import iterate
from distillkit.train.shared import Shared
from distillkit.train.state import State

SIZES: dict[str, dict[str, Any]] = {
    "8 px, batch 64": {"batch": 64, "resolution": 8, "model_channels": 16, "attn_resolutions": [4]},
    "32 px, batch 16": {"batch": 16, "resolution": 32, "model_channels": 32, "attn_resolutions": [16]},
}


def recipe(compiled: bool, batch: int, resolution: int, **network: Any) -> Recipe:
    """SiD in the toy world, with a U-Net of one block a level."""
    network = {"use": "edm-ddpmpp", "channel_mult": [1, 2], "num_blocks": 1, **network}
    return toys.toy_recipe(
        run={"batch": batch, "threads": 1, "device": "cpu", "compile": compiled},
        dataset={"resolution": resolution, "channels": 3, "label_dim": 0}, teacher_score={"network": network},
        generator_loss={"use": "sid", "noise": "lognormal"},
    )  # fmt: skip


def planned(recipe: Recipe) -> float:
    """Bytes."""
    with blank() as live:
        state = dry.build(recipe, {}, toys.catalog(), live)
        return dry.small(state, live, recipe.run.batch, recipe.run.batch).largest.peak


def measured(state: State) -> float:
    """Bytes of an iteration that is not the first."""
    for _ in range(2):
        iterate(state)
    gc.collect()
    tensors = [x for x in gc.get_objects() if type(x) in (Tensor, torch.nn.Parameter, Shared)]
    kept = sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors}.values())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        iterate(state)
    now = most = 0
    assert seen.profiler, "it was entered"
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return float(kept + most)


def main() -> None:
    for size, keys in SIZES.items():
        for compiled in (False, True):
            asked = recipe(compiled, **keys)
            plan, found = planned(asked), measured(build(asked, toys.catalog()))
            how = "compiled" if compiled else "as written"
            print(f"{size}, {how}: planned {plan / 1e6:.1f} MB, measured {found / 1e6:.1f} MB ({plan / found:.2f})")


if __name__ == "__main__":
    main()
