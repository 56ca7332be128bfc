"""A network as its authors wrote it, called at x_t and t, as a denoiser of ours: by a recipe's keys alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from distillkit.api import Choice, Network, UsageError, added_later, field, frozen, gt, in_
from distillkit.convert import (
    PREDICTIONS,
    TABLES,
    Converted,
    CosineLogSnr,
    Edm,
    Flow,
    Gvp,
    Schedule,
    Table,
    TrigFlow,
    Vp,
)

UNIT: dict[str, type[Schedule]] = {"flow": Flow, "gvp": Gvp, "vp": Vp, "cosine": CosineLogSnr}  # t in [0,1]
SCHEDULES = (*UNIT, "edm", "trigflow", *TABLES)


@frozen(kw_only=True, slots=False)
class Conversion:
    """What a network is called with, and what it says: x_t = a(t) x_0 + b(t) n."""

    schedule: str = field(default="flow", validator=in_(SCHEDULES), metadata=added_later(as_before="flow"))
    """how noise is added: a straight path, an arc, the noise level itself ("edm"), or the steps of a table"""
    interpolated: bool = field(default=False, metadata=added_later(as_before=False))
    """of a table: steps between whole ones, which move smoothly with the noise; unset: the nearest"""
    reversed_time: bool = field(default=False, metadata=added_later(as_before=False))
    """its time runs from noise to data: it is told 1 - t"""
    time_scale: float = field(default=1.0, validator=gt(0), metadata=added_later(as_before=1.0))
    """it is told so many times t: 1000 for networks of flows that count steps"""
    sigma_data: float = field(default=0.5, validator=gt(0), metadata=added_later(as_before=0.5))
    """standard deviation of the images"""

    @reversed_time.validator
    def _of_unit(self, attribute: object, value: bool) -> None:
        if value and self.schedule not in UNIT:
            raise ValueError(f"'reversed_time' is of {', '.join(UNIT)}, not of schedule {self.schedule!r}")

    @interpolated.validator
    def _of_table(self, attribute: object, value: bool) -> None:
        if value and self.schedule not in TABLES:
            raise ValueError(f"'interpolated' is of {', '.join(TABLES)}, not of schedule {self.schedule!r}")

    def made(self) -> Schedule:
        """The schedule as an object."""
        if self.schedule in TABLES:
            return Table(alphas_cumprod=TABLES[self.schedule](), interpolated=self.interpolated)
        if self.schedule == "trigflow":
            return TrigFlow(sigma_data=self.sigma_data)
        return Edm() if self.schedule == "edm" else UNIT[self.schedule]()


class ConvertedNetwork(Network):
    """A network that is called with x_t and t and predicts noise, velocity ..., as a denoiser D(x; sigma)."""

    @frozen(kw_only=True)
    class Config(Conversion):
        network: Choice[Network]  # whose module is called as net(x_t, t, labels)
        prediction: str = field(validator=in_(tuple(PREDICTIONS)))  # what it says of x_t

    def module(self, resolution: int, channels: int, label_dim: int) -> AsWritten:
        """Raises UsageError for a network that is a denoiser already."""
        c = self.config
        model = c.network.build().module(resolution, channels, label_dim)
        if hasattr(model, "sigma_max"):
            raise UsageError(f"network {c.network.name!r} is a denoiser already: name it without `prediction`")
        return AsWritten(model, resolution, channels, label_dim, c)


class AsWritten(Converted):
    """D(x; sigma) of `model`, called as model(x_t, t, labels); channels beyond the image's are left out."""

    def __init__(self, model: nn.Module, resolution: int, channels: int, label_dim: int, config: Any) -> None:
        super().__init__(resolution, channels, label_dim, config.made(), config.prediction, config.sigma_data)
        self.model, self.reversed_time, self.time_scale = model, config.reversed_time, config.time_scale

    def predict(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """Raises UsageError for what is no image."""
        if labels is None and self.label_dim:
            labels = x_t.new_zeros(len(x_t), self.label_dim)
        # In float64 up to here: near the ends of a schedule 1 - t is small.
        told = (1 - t if self.reversed_time else t) * self.time_scale
        said: Tensor = self.model(x_t, told.to(x_t.dtype), labels)
        shape = list(said.shape) if isinstance(said, Tensor) else type(said).__name__
        wanted = list(x_t.shape)
        if len(shape) != 4 or shape[2:] != wanted[2:] or shape[1] < wanted[1]:
            raise UsageError(f"{type(self.model).__name__} gives {shape} at x_t {wanted}, not what has its shape")
        return said[:, : self.channels]
