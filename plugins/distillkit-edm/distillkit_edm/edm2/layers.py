"""Magnitude-preserving layers: what comes in with unit variance goes out with unit variance."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-4
SILU = 0.596  # root mean square of silu(n), n ~ N(0,1)


def normalize(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """x over its root mean square along `dims` (+ 1e-4). Source: arXiv:2312.02696, Eq. (47)."""
    wide = x.dtype if x.dtype == torch.float64 else torch.float32  # torch.promote_types would break a compiled graph
    norm = torch.linalg.vector_norm(x, dim=dims, keepdim=True, dtype=wide)
    unit: Tensor = x / (EPS + norm * math.sqrt(1 / math.prod([x.shape[dim] for dim in dims]))).to(x.dtype)
    return unit


def mp_silu(x: Tensor) -> Tensor:
    """Source: arXiv:2312.02696, Eq. (81)."""
    return F.silu(x) / SILU


def mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    """The share 1 - t of a and t of b, rescaled. Source: arXiv:2312.02696, Eq. (88)."""
    # A GPU's autocast doubles images in float32, and what is added to them is bfloat16.
    return a.lerp(b.to(a.dtype), t) / math.hypot(1 - t, t)


def mp_cat(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Channels [N,A,H,W] and [N,B,H,W] -> [N,A+B,H,W], their shares 1 - t and t whatever A and B are.

    Source: arXiv:2312.02696, Eq. (103).
    """
    A, B = a.shape[1], b.shape[1]
    scale = math.sqrt((A + B) / ((1 - t) ** 2 + t**2))
    return torch.cat([a * (scale * (1 - t) / math.sqrt(A)), b * (scale * t / math.sqrt(B))], dim=1)


def normal(*shape: int, std: float = 1.0) -> Tensor:
    """Normal numbers; none on the device "meta", where torch would import its compiler for them."""
    empty = torch.empty(shape)
    return empty if empty.is_meta else empty.normal_(std=std)


class MPFourier(nn.Module):
    """c_noise [N] -> cosines [N,channels] of random frequencies and phases, kept with the weights.

    Source: arXiv:2312.02696, Eq. (75).
    """

    freqs: Tensor
    phases: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("freqs", normal(channels, std=2 * math.pi))
        self.register_buffer("phases", torch.empty(channels).uniform_(to=2 * math.pi))

    def forward(self, c_noise: Tensor) -> Tensor:
        return (c_noise.outer(self.freqs) + self.phases).cos() * math.sqrt(2)


class MPConv(nn.Module):
    """Convolution of odd size `kernel` (0: a linear layer) by weights of unit norm per output, without bias.

    Each turn that trains them first overwrites the weights by their normalised values (arXiv:2312.02696, Eq. (66)); the
    authors' code does so in each pass, of which there may be several: from the second on it changes rounding alone.
    """

    force_normalization = True  # false: not even in training; SiDA's choice for size s

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal(out_channels, in_channels, *(kernel, kernel) if kernel else ()))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """x [N,in,H,W] or [N,in] -> [N,out,H,W] or [N,out], times gain []."""
        w = self._unit() * (gain / math.sqrt(self.weight[0].numel()))
        w = w.to(x.dtype)
        return F.linear(x, w) if w.ndim == 2 else F.conv2d(x, w, padding=w.shape[-1] // 2)

    def _unit(self) -> Tensor:
        """Weights of unit variance per output."""
        w: Tensor = self.weight
        return normalize(w, tuple(range(1, w.ndim)))

    @torch.no_grad()
    def begin_turn(self) -> None:
        if self.force_normalization:
            self.weight.copy_(normalize(self.weight, tuple(range(1, self.weight.ndim))))
