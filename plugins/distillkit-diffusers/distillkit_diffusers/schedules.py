"""Noise levels of diffusers' schedulers, by the names of their configs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distillkit.api import field, frozen, ge, gt, in_, lt
from distillkit.convert import Flow, Schedule, Table

PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow": "flow"}
TABLES = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")


@frozen(kw_only=True)
class NoiseConfig:
    """Keys of what t and the prediction mean, named as in diffusers."""

    prediction_type: str = field(default="epsilon", validator=in_(tuple(PREDICTIONS)))
    """what the network says of x_t: "flow" is noise minus image, on the straight path between them"""
    num_train_timesteps: int = field(default=1000, validator=ge(2))  # steps of the table
    beta_schedule: str = field(default="linear", validator=in_(TABLES))  # how betas rise
    beta_start: float = field(default=0.0001, validator=[gt(0), lt(1)])  # the first beta
    beta_end: float = field(default=0.02, validator=[gt(0), lt(1)])  # the last beta
    trained_betas: tuple[float, ...] = ()  # betas in place of these
    rescale_betas_zero_snr: bool = False  # whether the last step is noise alone
    shift: float = field(default=1.0, validator=gt(0))  # towards noise, of the steps of "flow"
    interpolated: bool = False  # steps between whole ones, which training has not seen but which move smoothly

    def schedule(self) -> Schedule:
        """Raises ValueError for betas that are none."""
        if self.prediction_type == "flow":
            first = 1 / self.num_train_timesteps
            return Flow(t_min=self.shift * first / (1 + (self.shift - 1) * first))
        return Table(alphas_cumprod=tuple(self.abar().tolist()), interpolated=self.interpolated)

    @property
    def time_scale(self) -> float:
        """What the network is told is this times the schedule's t."""
        return float(self.num_train_timesteps) if self.prediction_type == "flow" else 1.0

    def abar(self) -> Tensor:
        """Products of 1 - beta, float64 [T], computed in single precision as the networks were trained."""
        betas = self.betas()
        if self.rescale_betas_zero_snr:  # arXiv:2305.08891, Algorithm 1
            roots = (1 - betas).cumprod(0).sqrt()
            abar = ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square().double()
            return torch.cat([abar[:-1], abar[-2:-1] / 4])  # in place of zero, where sigma has no number
        return (1 - betas).cumprod(0).double()

    def betas(self) -> Tensor:
        """float32 [T]."""
        first, last, n = self.beta_start, self.beta_end, self.num_train_timesteps
        if self.trained_betas:
            return torch.tensor(self.trained_betas, dtype=torch.float32, device="cpu")
        if self.beta_schedule == "scaled_linear":
            return _line(first**0.5, last**0.5, n) ** 2
        if self.beta_schedule == "squaredcos_cap_v2":
            abar = [math.cos((i / n + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(n + 1)]
            betas = [min(1 - abar[i + 1] / abar[i], 0.999) for i in range(n)]
            return torch.tensor(betas, dtype=torch.float32, device="cpu")
        if self.beta_schedule == "sigmoid":
            return _line(-6, 6, n).sigmoid() * (last - first) + first
        return _line(first, last, n)


def _line(first: float, last: float, steps: int) -> Tensor:
    return torch.linspace(first, last, steps, dtype=torch.float32, device="cpu")
