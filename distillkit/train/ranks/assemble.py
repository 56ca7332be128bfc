"""Rows that ranks made, as many as each has, on the first one's CPU; an error of one is everybody's to know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distillkit.api import Lost
from distillkit.api.explained import explained

if TYPE_CHECKING:
    from distillkit.train.ranks.wire import Wire

Kind = tuple[torch.Size, torch.dtype]


def assemble(wire: Wire, make: Callable[[], list[Tensor]]) -> tuple[list[Tensor], Exception | None]:
    """See `Ranks.assemble`."""
    made: list[Tensor] = []
    error: Exception | None = None
    try:
        made = [rows.cpu() for rows in make()]
    except Lost:
        raise
    except Exception as own:
        error = own
    told = wire.collect((named(error, wire.rank), [(rows.shape, rows.dtype) for rows in made]))
    failed = [theirs for theirs, _ in told if theirs is not None]
    if failed:
        return [], error if error is not None and wire.rank == 0 else failed[0]
    kinds = [kind for _, kind in told]
    return [bring(wire, made, kinds, i) for i in range(max(map(len, kinds)))], None


def bring(wire: Wire, made: list[Tensor], kinds: list[list[Kind]], i: int) -> Tensor:
    """Tensor `i` of all ranks, of which `kinds` are the shapes and types: padded to the longest on the way."""
    counts = [kind[i][0][0] if kind else 0 for kind in kinds]
    shape, dtype = next(kind[i] for kind in kinds if kind)
    padded = torch.zeros(max(counts), *shape[1:], dtype=dtype)
    if not len(padded):
        return padded
    if made:
        padded[: len(made[i])] = made[i]
    found = wire.bring(padded)
    return torch.cat([part[:n] for part, n in zip(found, counts, strict=True)]) if found else padded[:0]


def named(error: Exception | None, rank: int) -> Exception | None:
    """An error that the first rank can raise for another, with who that was."""
    if error is None:
        return None
    known = explained(error)
    if known is None:
        return RuntimeError(" ".join(f"rank {rank}: {type(error).__name__}: {error}".split()))
    return type(known)(f"rank {rank}: {known}")
