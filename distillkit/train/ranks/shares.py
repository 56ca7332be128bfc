"""Whether a batch is work for so many processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from distillkit.api import UsageError

if TYPE_CHECKING:
    from torch import nn


def check(batch: int, micro_batch: int | None, size: int, group: int = 1) -> str:
    """What to know of a batch on `size` processes; "" where there is nothing. Raises UsageError if one has no work.

    `group`: images that are in one pass.
    """
    units = batch // (micro_batch or group)
    if size > units and micro_batch is None:
        raise UsageError(f"run.batch = {batch} gives work to at most {units} processes, not {size}")
    if size > units:
        # Never changed to fit without a word: it is part of the recipe, and of the method where that is per pass.
        smaller = next((n for n in range(batch // size, 0, -1) if batch % n == n % group == 0), 0)
        instead = f"; {smaller} would do for {size}" if smaller else ""
        raise UsageError(
            f"run.micro_batch = {micro_batch} makes {units} passes, for at most {units} processes{instead}"
        )
    if units % size == 0 or (micro_batch is None and group == 1):  # shares that differ by one image: as good as equal
        return ""
    share = {2: "half"}.get(most := -(-units // size), f"{1 / most:.0%}")
    what = "passes" if micro_batch else f"groups of {group} images"
    return f"{units} {what}: {size - units % size} of {size} processes wait {share} of the time"


def check_statistics(
    networks: Mapping[str, nn.Module], batch: int, micro_batch: int | None, size: int, group: int = 1
) -> None:
    """Raises UsageError where a network that trains has statistics of a pass, and no recipe says what a pass is."""
    if size == 1 or micro_batch is not None:
        return
    from torch.nn.modules.batchnorm import _BatchNorm

    for name, network in networks.items():
        if any(isinstance(module, _BatchNorm) for module in network.modules()):
            n = next(n for n in range(max(batch // size, group), 0, -1) if batch % n == n % group == 0)
            what = f"{n} = what {size} processes hold" if n * size == batch else f"{n} would do for {size} processes"
            raise UsageError(f"{name} normalises over a pass: name run.micro_batch ({what})")
