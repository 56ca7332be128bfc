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
    kept (V-statistic). The gradient reaches `fake` alone, once. Memory: O((tile + D) * (N+M)).
    `real_real` []: the last term if it is known (`self_mean`, `mean_at`); without gradient: zero only shifts the value.
    Source: Gretton et al., JMLR 13 (2012), Eq. (3) and (5).
    """
    return Pooled(fake, real, kernel).mmd2(s2, biased=biased, tile=tile, real_real=real_real)


class Pooled:
    """The rows of fake [N,D] and real [M,D], for a bandwidth and an MMD that read them once."""

    def __init__(self, fake: Tensor, real: Tensor, kernel: Kernel) -> None:
        if fake.ndim != 2 or real.ndim != 2 or fake.shape[1] != real.shape[1]:
            raise ValueError(f"MMD needs two tables of equal width: {_shapes(fake, real)}")
        self.fake, self.real, self.kernel, dtype = fake, real, kernel, _dtype(fake)
        with torch.no_grad():
            self.rows = torch.cat([fake.to(dtype), real.to(dtype)])  # [N+M,D]
            if kernel.radial:  # |a|^2 + |b|^2 - 2ab keeps its digits only near the origin
                self.rows -= self.rows.mean(0)
            self.squares = self.rows.square().sum(1)  # [N+M]

    def bandwidth2(self, how: str = "mean") -> Tensor:
        """As the function of that name -> []."""
        if how == "mean" and self.kernel.radial:
            return self.squares.sum() * (2 / (len(self.rows) - 1))
        return bandwidth2(self.fake, self.real, how)

    def mmd2(
        self, s2: Tensor | float, *, biased: bool = False, tile: int = TILE, real_real: Tensor | None = None
    ) -> Tensor:
        """As the function of that name -> []."""
        n, fewest = len(self.fake), 1 if biased else 2
        if min(n, len(self.real)) < fewest:
            name = "biased" if biased else "unbiased"
            raise ValueError(f"{name} MMD needs at least {fewest} rows of each: {_shapes(self.fake, self.real)}")
        if real_real is None:
            real_real = self_mean(self.real, self.kernel, s2, biased=biased, tile=tile)
        value: Tensor = _Mmd2.apply(self.fake, self, s2, biased, tile, real_real)  # type: ignore[no-untyped-call] # it has none
        return value


def pairwise(a: Tensor, b: Tensor, kernel: Kernel, s2: Tensor | float, least: float = 0.0) -> Tensor:
    """k(a_i, b_j) of all pairs of rows of a [...,N,D] and b [...,M,D] -> [...,N,M]; its gradient reaches both.

    For many small samples at once, whose rows may be near each other: distances are of differences and keep their
    digits, in memory of N M D. s2 is broadcast to the result. Of a radial kernel, rows nearer than `least` count as
    that far apart, and do not push each other. The second derivative is not the kernel's.
    """
    dtype = _dtype(a)
    with torch.autocast(a.device.type, enabled=False):
        one, other = a.to(dtype)[..., :, None, :], b.to(dtype)[..., None, :, :]
        r = (one - other).square().sum(-1).clamp(min=least**2) if kernel.radial else (one * other).sum(-1)
        r = r / s2
        with torch.no_grad():
            k, dk = kernel.profile(r.clone())
        return k + dk * (r - r.detach())


def self_mean(a: Tensor, kernel: Kernel, s2: Tensor | float, *, biased: bool = False, tile: int = TILE) -> Tensor:
    """mean k(a_i, a_j) of a [N,D] -> [], over i != j unless biased; without gradient."""
    with torch.no_grad(), _full_precision(a.device):
        a = _centred(a, kernel)
        a2, total = a.square().sum(1), a.new_zeros((), dtype=torch.float64)
        for first in range(0, len(a), tile):
            k, _ = kernel.profile(_scaled(a[first : first + tile], a, a2, kernel, s2, first))
            if not biased:
                k.diagonal(first).zero_()
            total += k.sum()
        return (total / _pairs(len(a), biased)).to(a.dtype)


def arguments(a: Tensor, kernel: Kernel) -> Tensor:
    """What `kernel.profile` takes of all pairs of rows of a [N,D] at s2 = 1 -> [N,N], without gradient."""
    with torch.no_grad(), _full_precision(a.device):
        a = _centred(a, kernel)
        a2, r = a.square().sum(1), a.new_empty(len(a), len(a))
        for first in range(0, len(a), TILE):
            r[first : first + TILE] = _scaled(a[first : first + TILE], a, a2, kernel, 1.0, first)
        return r


def mean_at(r: Tensor, kernel: Kernel, s2: Tensor | float) -> Tensor:
    """mean k [] of pairs whose `arguments` are r [n]; without gradient."""
    with torch.no_grad():
        return kernel.profile(r / s2)[0].mean(dtype=torch.float64).to(r.dtype)


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
        ctx: Any, fake: Tensor, pool: Pooled, s2: Tensor | float, biased: bool, tile: int, real_real: Tensor
    ) -> Tensor:
        n, m, kernel, both, dtype = len(fake), len(pool.real), pool.kernel, pool.rows, pool.rows.dtype
        a = both[:n]
        total = both.new_zeros(n + m, dtype=torch.float64)
        weight = torch.full_like(total, -2 / (n * m))  # of k(fake, real), and in the first columns of k(fake, fake')
        weight[:n] = 1 / _pairs(n, biased)
        slope = weight.to(dtype, copy=True)
        slope[:n] *= 2  # both arguments of k(fake, fake') move
        grad = torch.empty_like(a) if ctx.needs_input_grad[0] else None
        with _full_precision(a.device):
            for first in range(0, n, tile):
                rows = a[first : first + tile]
                k, dk = kernel.profile(_scaled(rows, both, pool.squares, kernel, s2, first))
                if not biased:
                    k.diagonal(first).zero_()
                    dk.diagonal(first).zero_()
                total += k.sum(0)
                if grad is not None:
                    _pull(dk.mul_(slope), rows, both, kernel, s2, out=grad[first : first + tile])
        if grad is not None:
            ctx.save_for_backward(grad.to(fake.dtype))
        return (total @ weight + real_real).to(dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: silence would drop this term from the second derivative
            raise RuntimeError("the MMD has no second derivative: its gradient is made in the forward pass")
        (gradient,) = ctx.saved_tensors
        return upstream.to(gradient.dtype) * gradient, None, None, None, None, None


def _pull(dk: Tensor, rows: Tensor, b: Tensor, kernel: Kernel, s2: Tensor | float, out: Tensor) -> None:
    """out [tile,D]: the gradient at `rows` of a sum of k(rows, b) whose slopes in its argument are dk [tile,M]."""
    torch.mm(dk, b, out=out)  # dr/da = 2 (a - b) / s2, or b / s2
    if kernel.radial:
        out.neg_().addcmul_(rows, dk.sum(1, keepdim=True)).mul_(2)
    out.div_(s2)


def _centred(a: Tensor, kernel: Kernel) -> Tensor:
    """a [N,D] near the origin where the kernel does not mind."""
    a = a.to(_dtype(a))
    return a - a.mean(0) if kernel.radial else a


def _scaled(rows: Tensor, b: Tensor, b2: Tensor, kernel: Kernel, s2: Tensor | float, first: int) -> Tensor:
    """The kernel's argument r [tile,M] of `rows`, those of b [M,D] from `first`; b2 [M] are squared norms."""
    if not kernel.radial:
        return (rows @ b.T).div_(s2)
    r = torch.addmm(b2, rows, b.T, alpha=-2).add_(b2[first : first + len(rows), None])
    r.diagonal(first).zero_()  # exact, where rounding would leave a little
    return r.clamp_(min=0).div_(s2)


def _shapes(fake: Tensor, real: Tensor) -> str:
    return f"fake {list(fake.shape)}, real {list(real.shape)}"


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
