"""Collectives that gradients go through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from distillkit.train.ranks.group import Group


class Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Group) -> Tensor:
        ctx.ranks, total = ranks, x.clone()
        ranks.sum_([total])
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        total = upstream.clone()
        ctx.ranks.sum_([total])
        return total, None


class Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Group, counts: list[int]) -> Tensor:
        ctx.at, ctx.n, ctx.size = sum(counts[: ranks.rank]), len(rows), ranks.size
        return ranks.gather_rows(rows, counts)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        # The engine divides the term by the ranks, each of which sends the gradient to its own rows alone.
        return upstream[ctx.at : ctx.at + ctx.n] * ctx.size, None, None
