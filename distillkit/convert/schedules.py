"""Schedules: x_t = a(t) x_0 + b(t) n, with time t rising from data to noise; sigma = b / a is EDM's noise level.

x_t = a x_sigma, so a network of any schedule can be asked about x_sigma = x_0 + sigma n. All in float64 where the
device has it: near the ends of a schedule float32 loses what the network's time stands for.
"""

from __future__ import annotations

import math

import torch
from attrs import field, frozen
from torch import Tensor

from distillkit.api import UsageError, ge, gt


def double(value: Tensor) -> Tensor:
    """float64, or float32 on a device without it."""
    return value.to(torch.float32 if value.device.type == "mps" else torch.float64)


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, device="cpu")  # where networks without content are made, too


@frozen(kw_only=True)
class Schedule:
    """A schedule; `t_min` ... `t_max` are the times that a network was trained on. t and sigma have any shape."""

    t_min: float = field(default=0.0, validator=ge(0))
    t_max: float = 1.0

    def __attrs_post_init__(self) -> None:
        if not self.t_min < self.t_max:
            raise UsageError(f"t_min {self.t_min} is not below t_max {self.t_max}")

    def a_b(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """a and b at t."""
        raise NotImplementedError

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """da/dt and db/dt at t."""
        raise NotImplementedError

    def t(self, sigma: Tensor) -> Tensor:
        """The time whose noise level is sigma, beyond what the network was trained on too."""
        raise NotImplementedError

    def sigma(self, t: Tensor) -> Tensor:
        """b / a at t."""
        a, b = self.a_b(t)
        return b / a

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """a and b where the noise level is sigma."""
        return self.a_b(self.t(sigma))

    def fed(self, sigma: Tensor) -> Tensor:
        """The time that the network is told for sigma: never one that it was not trained on."""
        return self.t(sigma).clamp(self.t_min, self.t_max)

    @property
    def sigma_min(self) -> float:
        """Lowest noise level that the network was trained on."""
        return float(self.sigma(_number(self.t_min)))

    @property
    def sigma_max(self) -> float:
        """Highest noise level that the network was trained on; infinite where a ends at zero."""
        return float(self.sigma(_number(self.t_max)))


@frozen(kw_only=True)
class Edm(Schedule):
    """a = 1, b = t: the noise level is the time (arXiv:2206.00364)."""

    t_min: float = field(default=0.002, validator=ge(0))
    t_max: float = 80.0

    def a_b(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), torch.ones_like(t)

    def t(self, sigma: Tensor) -> Tensor:
        return sigma


@frozen(kw_only=True)
class Flow(Schedule):
    """a = 1 - t, b = t: the straight path of rectified flow and flow matching (arXiv:2209.03003, 2210.02747)."""

    t_max: float = 0.999  # there sigma is 999

    def a_b(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)

    def t(self, sigma: Tensor) -> Tensor:
        return sigma / (1 + sigma)


@frozen(kw_only=True)
class TrigFlow(Schedule):
    """a = cos t, b = sigma_data sin t, t in [0, pi/2] (arXiv:2410.11081)."""

    t_max: float = math.pi / 2
    sigma_data: float = field(default=0.5, validator=gt(0))

    def a_b(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return t.cos(), self.sigma_data * t.sin()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -t.sin(), self.sigma_data * t.cos()

    def t(self, sigma: Tensor) -> Tensor:
        return (sigma / self.sigma_data).atan()


@frozen(kw_only=True)
class Gvp(Schedule):
    """a = cos(pi t / 2), b = sin(pi t / 2): the variance-preserving arc of interpolants (arXiv:2401.08740)."""

    def a_b(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return (math.pi / 2 * t).cos(), (math.pi / 2 * t).sin()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -math.pi / 2 * (math.pi / 2 * t).sin(), math.pi / 2 * (math.pi / 2 * t).cos()

    def t(self, sigma: Tensor) -> Tensor:
        return sigma.atan() * (2 / math.pi)


@frozen(kw_only=True)
class Vp(Schedule):
    """ln a = -(beta_max - beta_min) t^2 / 4 - beta_min t / 2, a^2 + b^2 = 1 (arXiv:2011.13456, Eq. 33)."""

    beta_min: float = field(default=0.1, validator=gt(0))
    beta_max: float = field(default=20.0, validator=gt(0))

    def a_b(self, t: Tensor) -> tuple[Tensor, Tensor]:
        ln_a = -(self.beta_max - self.beta_min) * t**2 / 4 - self.beta_min * t / 2
        return ln_a.exp(), (-torch.expm1(2 * ln_a)).sqrt()

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.a_b(t)
        rate = -(self.beta_max - self.beta_min) * t / 2 - self.beta_min / 2  # of ln a
        return a * rate, -(a**2) * rate / b  # from a a' + b b' = 0

    def t(self, sigma: Tensor) -> Tensor:
        # ln(1 + sigma^2) = -2 ln a: a quadratic in t, solved without a difference of large numbers
        d, c = self.beta_max - self.beta_min, torch.log1p(sigma**2)
        return 2 * c / (self.beta_min + (self.beta_min**2 + 2 * d * c).sqrt())
