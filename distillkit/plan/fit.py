"""Does it fit: memory of the device against what the largest turn takes, and what to change."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from distillkit.api import UsageError

if TYPE_CHECKING:
    from distillkit.plan.stages import Stage
    from distillkit.recipe.schema import Recipe

GB, PREFIXES = 1e9, ("", "k", "M", "G", "T", "P", "E", "Z")
FREE = 0.1  # share of the device's memory left to its context, workspaces and gaps between blocks
NOT = "does not fit", "cannot tell"  # how a verdict begins that is none to start a run on


@frozen(kw_only=True)
class Device:
    """Memory to fit into, in bytes, and where that number is from."""

    memory: float
    source: str

    @property
    def usable(self) -> float:
        return self.memory * (1 - FREE)


def device(gigabytes: float | None, name: str) -> Device:
    """Choose the memory to fit into: as asked, else of the GPU that is run.device, `name`, else what is free here."""
    if gigabytes is not None:
        return Device(memory=gigabytes * GB, source="as asked")
    import torch

    kind, _, number = name.partition(":")
    gpus, index = torch.xpu if kind == "xpu" else torch.cuda, int(number or 0)
    if kind != "cpu" and gpus.is_available() and index < gpus.device_count():
        facts = gpus.get_device_properties(index)
        return Device(memory=facts.total_memory, source=facts.name)
    return main_memory(Path("/proc/meminfo"))


def main_memory(meminfo: Path) -> Device:
    """Read how much memory Linux calls available, elsewhere all there is. Raises UsageError where neither is told."""
    if meminfo.is_file():
        lines = dict(line.split(":") for line in meminfo.read_text(encoding="ascii").splitlines())
        return Device(memory=float(lines["MemAvailable"].split()[0]) * 1024, source="available in this machine, no GPU")
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        raise UsageError("this system does not tell how much memory it has; say it: --memory 16 (in GB)")
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Device(memory=size, source="all of this machine's, no GPU")


def largest(stage: Stage, memory: Device) -> int:
    """Find the largest micro-batch that fits, a divisor of the batch; 0: none does."""
    batch, group = stage.recipe.run.batch, stage.recipe.group
    fitting = [m for m in range(group, batch + 1, group) if batch % m == 0 and stage.peak(m) <= memory.usable]
    return max(fitting, default=0)


def verdict(stages: list[Stage], memory: Device, at_once: Callable[[Recipe], int] | None = None) -> str:
    """Say in one line whether all that is left to run fits, and what to change.

    `at_once`: images of the largest pass of one process of several; None: of one process alone.
    """
    left = [stage for stage in stages if not stage.finished]
    unknown = [stage.recipe.name for stage in left if stage.cost is None]
    if unknown:
        return f"{NOT[1]} whether it fits: {', '.join(unknown)} cannot be counted"
    if not left:
        return "finished: nothing is left to run"
    worst = max(left, key=lambda stage: stage.counted.largest.peak)
    need, micro, best = worst.counted.largest.peak, worst.counted.micro_batch, largest(worst, memory)
    if at_once is not None and at_once(worst.recipe) < micro:
        micro = at_once(worst.recipe)
        need = worst.peak(micro)
    said = f"{size(need, 'B')} with run.micro_batch = {micro} ({worst.recipe.name}), {size(memory.usable, 'B')} usable"
    if need <= memory.usable:
        return f"fits: {said}" + (f"; run.micro_batch = {best} would fit too" if best > micro else "")
    if best:
        return f"{NOT[0]}: {said}; fits with run.micro_batch = {best} ({size(worst.peak(best), 'B')})"
    least = worst.recipe.group
    return f"{NOT[0]}: {said}; nor with run.micro_batch = {least} ({size(worst.peak(least), 'B')}); {_smaller(worst)}"


def _smaller(stage: Stage) -> str:
    run = stage.recipe.run
    keys = {
        "run.checkpoint_activations = true": not run.checkpoint_activations,
        "run.offload = true": not run.offload,
        'run.precision = "bf16"': run.precision != "bf16",
    }
    untried = [key for key, left in keys.items() if left]
    return f"try {', '.join(untried)}, or a smaller network" if untried else "take a smaller network"


def size(value: float, unit: str) -> str:
    """Write a value for people: 36.5 GB, 420 MB, 8.77 kFLOP."""
    power = min(max(int(math.log10(value * 1.0005) // 3), 0), len(PREFIXES) - 1) if value > 0 else 0
    return f"{value / 1000**power:.3g} {PREFIXES[power]}{unit}"
