"""Variance-preserving schedules that are not of one formula in t: tables of DDPM, and the cosine in logsnr."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from distillkit.api import UsageError
from distillkit.convert.schedules import Schedule


def variance_preserving(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """a and b with a^2 + b^2 = 1 where b / a = sigma."""
    a = (1 + sigma**2).rsqrt()
    return a, sigma * a


@frozen(kw_only=True)
class CosineLogSnr(Schedule):
    """a^2 + b^2 = 1 and ln(a^2 / b^2) = -2 ln tan(u), u linear in t between two logsnr (arXiv:2202.00512)."""

    logsnr_min: float = -20.0
    logsnr_max: float = 20.0

    def _line(self) -> tuple[float, float]:
        low, high = math.atan(math.exp(-self.logsnr_max / 2)), math.atan(math.exp(-self.logsnr_min / 2))
        return low, high - low

    def a_b(self, t: Tensor) -> tuple[Tensor, Tensor]:
        low, width = self._line()
        return (low + width * t).cos(), (low + width * t).sin()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.a_b(t)
        return -self._line()[1] * b, self._line()[1] * a

    def t(self, sigma: Tensor) -> Tensor:
        low, width = self._line()
        return (sigma.atan() - low) / width


def _rising(table: Sequence[float]) -> tuple[float, ...]:
    table = tuple(map(float, table))
    falls = all(high > low for high, low in pairwise(table))
    if len(table) < 2 or not (falls and table[0] < 1 and table[-1] > 0):
        raise UsageError("alphas_cumprod must fall from below 1 to above 0")
    return table


@frozen(kw_only=True)
class Table(Schedule):
    """DDPM's: t is an index 0 ... T-1 into abar, a = sqrt(abar), b = sqrt(1 - abar).

    A network was trained at whole indices: the nearest in ln sigma is what it is told. With `interpolated` it is told
    indices between them, which it has not seen but which move smoothly with sigma.
    """

    alphas_cumprod: tuple[float, ...] = field(converter=_rising)
    interpolated: bool = False
    t_max: float = field(init=False)
    _made: dict[Any, Tensor] = field(factory=dict, init=False, eq=False, repr=False)  # the table, by device

    @t_max.default
    def _last(self) -> float:
        return len(self.alphas_cumprod) - 1.0

    def log_sigmas(self, like: Tensor) -> Tensor:
        """ln sigma of each index [T], rising."""
        where = like.dtype, like.device
        if where in self._made:
            return self._made[where]
        abar = torch.tensor(self.alphas_cumprod, dtype=torch.float64, device="cpu")
        table = (((1 - abar) / abar).log() / 2).to(like.dtype).to(like.device)
        if type(table) is Tensor:  # not where compilers look through calls
            self._made[where] = table
        return table

    def sigma(self, t: Tensor) -> Tensor:
        """Of indices between two, with ln sigma linear between them."""
        table = self.log_sigmas(t)
        low = t.floor().long().clamp(0, len(table) - 2)
        return torch.lerp(table[low], table[low + 1], t - low).exp()

    def a_b(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return variance_preserving(self.sigma(t))

    def t(self, sigma: Tensor) -> Tensor:
        table, wanted = self.log_sigmas(sigma), sigma.log()
        below = (table < wanted[..., None]).sum(-1)  # what searchsorted gives, which exported graphs cannot hold
        low = (below - 1).clamp(0, len(table) - 2)
        t = low + (wanted - table[low]) / (table[low + 1] - table[low])
        return t if self.interpolated else t.round()

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Of sigma itself, not of the index that is nearest to it."""
        return variance_preserving(sigma)


def _abar(betas: Tensor) -> tuple[float, ...]:
    return tuple((1 - betas).cumprod(0).tolist())


def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> tuple[float, ...]:
    """abar of betas that rise linearly (arXiv:2006.11239)."""
    return _abar(torch.linspace(first, last, steps, dtype=torch.float64, device="cpu"))


def scaled_linear(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> tuple[float, ...]:
    """abar of betas whose roots rise linearly, as latent diffusion has them (arXiv:2112.10752)."""
    return _abar(torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64, device="cpu") ** 2)


def squared_cosine(steps: int = 1000, most: float = 0.999) -> tuple[float, ...]:
    """abar of a squared cosine, betas at `most` 0.999 (arXiv:2102.09672, Eq. 17)."""
    u = torch.arange(steps + 1, dtype=torch.float64, device="cpu") / steps
    abar = ((u + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return _abar((1 - abar[1:] / abar[:-1]).clamp(max=most))


# By the names that recipes have for them.
TABLES: dict[str, Callable[[], tuple[float, ...]]] = {
    "linear": linear, "scaled_linear": scaled_linear, "squared_cosine": squared_cosine,
}  # fmt: skip
