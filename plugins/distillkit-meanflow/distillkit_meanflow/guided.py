"""A flow map that is told its guidance, with a second head for the velocity: any network of twice the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from distillkit.api import Blocks, Choice, Network, UsageError, and_, field, frozen, ge, le

if TYPE_CHECKING:
    from collections.abc import Sequence


@runtime_checkable
class Guided(Protocol):
    """A flow map whose guidance is an input, and which tells the velocity beside the average velocity."""

    def heads(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None, r: Tensor | None, guidance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """D of the jump to r, and the velocity's D, each [N,C,H,W]; guidance [N,3]: omega, t_min and t_max."""


class GuidedFlowMap(Network):
    """A flow map that takes guidance as an input, with a head for the velocity (arXiv:2512.02012)."""

    @frozen(kw_only=True)
    class Config:
        network: Choice[Network]  # with second_time = true; it is made for twice the channels and three labels more
        omega: float = field(default=7.5, validator=ge(1))  # guidance of samples
        t_min: float = field(default=0.4, validator=and_(ge(0), le(1)))  # earliest time that it is for
        t_max: float = field(default=0.65, validator=and_(ge(0), le(1)))  # latest time

        def __attrs_post_init__(self) -> None:
            if self.t_min > self.t_max:
                raise ValueError(f"'t_min' {self.t_min} is after 't_max' {self.t_max}: no time would be guided")

    def module(self, resolution: int, channels: int, label_dim: int) -> GuidedModule:
        """Raises UsageError for a network without a second time."""
        c = self.config
        inner = c.network.build().module(resolution, 2 * channels, label_dim + 3)
        if not getattr(inner, "second_time", False):
            hint = (
                ": give it second_time = true"
                if hasattr(c.network.config, "second_time")
                else " and has no key for one"
            )
            raise UsageError(f"network {c.network.name!r} takes no second noise level{hint}")
        return GuidedModule(inner, channels, label_dim, (c.omega, c.t_min, c.t_max))


class GuidedModule(nn.Module):
    """`inner` sees x twice and, after the classes, 1 - 1 / omega, t_min and t_max; its channels are both heads."""

    augment_dim, second_time = 0, True

    def __init__(self, inner: Any, channels: int, label_dim: int, guidance: Sequence[float]) -> None:
        """`guidance`: omega, t_min, t_max where none are given."""
        super().__init__()
        self.inner, self.channels, self.label_dim, self.guidance = inner, channels, label_dim, tuple(guidance)
        self.resolution, self.sigma_data = inner.resolution, inner.sigma_data
        self.sigma_min, self.sigma_max = inner.sigma_min, inner.sigma_max

    @property
    def compute_dtype(self) -> torch.dtype | None:
        return cast("torch.dtype | None", self.inner.compute_dtype)

    @compute_dtype.setter
    def compute_dtype(self, dtype: torch.dtype | None) -> None:
        self.inner.compute_dtype = dtype

    def blocks(self) -> list[nn.Module]:
        """The inner network's."""
        return self.inner.blocks() if isinstance(self.inner, Blocks) else [self.inner]

    def forward(
        self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, augment_labels: Tensor | None = None, *,
        r: Tensor | float | None = None, guidance: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """D [N,C,H,W] of the jump to r; with guidance [N,3] that of the velocity after it, [N,2C,H,W]."""
        told = x.new_tensor(self.guidance).expand(len(x), 3) if guidance is None else guidance
        labels = x.new_zeros(len(x), self.label_dim) if labels is None else labels.to(x.dtype)
        labels = torch.cat([labels, 1 - 1 / told[:, :1], told[:, 1:]], dim=1)
        D: Tensor = self.inner(torch.cat([x, x], dim=1), sigma, labels, r=r)
        return D[:, : self.channels] if guidance is None else D

    def heads(
        self, x: Tensor, sigma: Tensor, labels: Tensor | None, r: Tensor | None, guidance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """D of the jump to r, and the velocity's D, each [N,C,H,W]; guidance [N,3]: omega, t_min and t_max."""
        # By way of the module itself: where ranks share it, that is where its weights come together.
        D_u, D_v = self(x, sigma, labels, r=r, guidance=guidance).chunk(2, dim=1)
        return D_u, D_v
