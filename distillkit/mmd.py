"""Squared maximum mean discrepancy (MMD): exact, row by row in tiles, its gradient computed in the forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from distillkit.api import Kernel

TILE = 256  # rows of the kernel matrix that exist at a time
MEDIAN_ROWS = 2048  # rows the median is taken over, at most: 2 M distances


def mmd2(
    fake: Tensor,
    real: Tensor,
    kernel: Kernel,
    s2: Tensor | float,
    *,
    biased: bool = False,
    tile: int = TILE,
    real_real: Tensor | None = None,
) -> Tensor:
    """mean k(fake,fake') - 2 mean k(fake,real) + mean k(real,real') of fake [N,D], real [M,D] -> [].

    s2 [] is the kernel's squared bandwidth. Unbiased (default): the diagonal is left out (U-statistic); biased: it is
    kept (V-statistic). The gradient reaches `fake` alone, once. Memory: O(tile * max(N,M) + (N+M) * D).
    `real_real` []: the last term if it is known (`self_mean`); it has no gradient, so zero only shifts the value.
    Source: Gretton et al., JMLR 13 (2012), Eq. (3) and (5).
    """
    fewest = 1 if biased else 2
    if fake.ndim != 2 or real.ndim != 2 or fake.shape[1] != real.shape[1] or min(len(fake), len(real)) < fewest:
        raise ValueError(
            f"{'biased' if biased else 'unbiased'} MMD needs two tables of equal width and at least {fewest} rows:"
            f" fake {list(fake.shape)}, real {list(real.shape)}"
        )
    value: Tensor = _Mmd2.apply(fake, real, kernel, s2, biased, tile, real_real)  # type: ignore[no-untyped-call] # it has none
    return value


def self_mean(a: Tensor, kernel: Kernel, s2: Tensor | float, *, biased: bool = False, tile: int = TILE) -> Tensor:
    """mean k(a_i, a_j) of a [N,D] -> [], over i != j unless biased; without gradient."""
    with torch.no_grad(), _full_precision(a.device):
        a = a.to(_dtype(a))
        if kernel.radial:
            a = a - a.mean(0)
        total, _ = _pair_sum(a, a, kernel, s2, tile, same=True, biased=biased, gradient=False)
        return (total / _pairs(len(a), biased)).to(a.dtype)


def bandwidth2(fake: Tensor, real: Tensor, how: str = "mean") -> Tensor:
    """Squared bandwidth of the pooled rows of fake [N,D] and real [M,D] -> []: over pairs, without gradient.

    "mean" of squared distances, exact in O((N+M) D): it is twice the trace of the covariance;
    "median", over at most MEDIAN_ROWS evenly spaced rows.
    """
    z = torch.cat([fake.detach(), real.detach()])
    z = z.to(_dtype(z))
    if how == "mean":
        return (z - z.mean(0)).square().sum() * (2 / (len(z) - 1))
    return torch.pdist(z[:: -(-len(z) // MEDIAN_ROWS)]).median().square()


class _Mmd2(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, fake: Tensor, real: Tensor, kernel: Kernel, s2: Tensor | float, biased: bool, tile: int,
        real_real: Tensor | None,
    ) -> Tensor:  # fmt: skip
        n, m, dtype = len(fake), len(real), _dtype(fake)
        if real_real is None:
            real_real = self_mean(real, kernel, s2, biased=biased, tile=tile)
        a, b = fake.to(dtype), real.to(dtype)
        if kernel.radial:  # shift invariant; |a|^2 + |b|^2 - 2ab keeps its digits only near the origin
            centre = (a.sum(0) + b.sum(0)) / (n + m)
            a, b = a - centre, b - centre
        needed = ctx.needs_input_grad[0]
        with _full_precision(a.device):
            ff, d_ff = _pair_sum(a, a, kernel, s2, tile, same=True, biased=biased, gradient=needed)
            fr, d_fr = _pair_sum(a, b, kernel, s2, tile, same=False, biased=biased, gradient=needed)
        pairs = _pairs(n, biased)
        if d_ff is not None and d_fr is not None:  # 2: both arguments of k(fake, fake') move
            ctx.save_for_backward(d_ff.mul_(2 / pairs).sub_(d_fr, alpha=2 / (n * m)).to(fake.dtype))
        return (ff / pairs - fr * (2 / (n * m)) + real_real).to(dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: silence would drop this term from the second derivative
            raise RuntimeError("the MMD has no second derivative: its gradient is made in the forward pass")
        (gradient,) = ctx.saved_tensors
        return upstream.to(gradient.dtype) * gradient, None, None, None, None, None, None


def _pair_sum(
    a: Tensor, b: Tensor, kernel: Kernel, s2: Tensor | float, tile: int, *, same: bool, biased: bool, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Sum of k(a_i, b_j) -> [] float64, and its gradient in the first argument [N,D]; `same`: b is a."""
    total = a.new_zeros((), dtype=torch.float64)
    grad = torch.empty_like(a) if gradient else None
    b2 = b.square().sum(1)
    for first in range(0, len(a), tile):
        rows = a[first : first + tile]
        k, dk = kernel.profile(_scaled(rows, b, b2, kernel, s2, first if same else None))
        if same and not biased:
            k.diagonal(first).zero_()
            dk.diagonal(first).zero_()
        total += k.sum()
        if grad is not None:  # dr/da = 2 (a - b) / s2, or b / s2
            out = torch.mm(dk, b, out=grad[first : first + tile])
            if kernel.radial:
                out.neg_().addcmul_(rows, dk.sum(1, keepdim=True)).mul_(2)
            out.div_(s2)
    return total, grad


def _scaled(rows: Tensor, b: Tensor, b2: Tensor, kernel: Kernel, s2: Tensor | float, diagonal: int | None) -> Tensor:
    """The kernel's argument r [tile,M]; b2 [M] are squared norms, `diagonal` the column where rows[0] meets itself."""
    if not kernel.radial:
        return (rows @ b.T).div_(s2)
    r = torch.addmm(b2, rows, b.T, alpha=-2).add_(rows.square().sum(1, keepdim=True))
    if diagonal is not None:
        r.diagonal(diagonal).zero_()  # exact, where rounding would leave a little
    return r.clamp_(min=0).div_(s2)


def _pairs(n: int, biased: bool) -> int:
    return n * n if biased else n * (n - 1)


def _dtype(a: Tensor) -> torch.dtype:
    return torch.promote_types(a.dtype, torch.float32)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Distances by expansion lose their digits under autocast or in TF32."""
    # By backend: torch's older switch for all of them raises once somebody has used the newer ones.
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined] # torch forgot it
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
