"""Layers of the EDM networks: linear, convolution with resampling, group norm, noise embeddings."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit import noise


class Init(NamedTuple):
    """How weights start: uniform, by the mean of fan-in and fan-out (Xavier) or by fan-in, times a gain."""

    xavier: bool
    gain: float = 1.0

    def fill(self, weight: Tensor, bias: Tensor | None) -> None:
        receptive = weight[0, 0].numel()
        fan_in, fan_out = weight.shape[1] * receptive, weight.shape[0] * receptive
        bound = self.gain * (math.sqrt(6 / (fan_in + fan_out)) if self.xavier else math.sqrt(1 / fan_in))
        nn.init.uniform_(weight, -bound, bound)
        if bias is not None:
            nn.init.zeros_(bias) if self.xavier else nn.init.uniform_(bias, -bound, bound)


class Linear(nn.Linear):
    """y [N,out] = x [N,in] W^T + b."""

    def __init__(self, in_features: int, out_features: int, init: Init, bias: bool = True) -> None:
        self.init = init
        super().__init__(in_features, out_features, bias=bias)

    def reset_parameters(self) -> None:
        self.init.fill(self.weight, self.bias)


def group_norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group norm with at least 4 channels in a group and at most 32 groups."""
    return nn.GroupNorm(max(1, min(32, channels // 4)), channels, eps=eps)


LARGE = 1 << 15  # elements, from which a depthwise convolution repays what it costs to call


def convolving_is_faster(x: Tensor) -> bool:
    """Whether means of 2x2 pixels, or their repetition, are made faster by a convolution; the bits are the same."""
    if torch.compiler.is_compiling():  # torch.export too, for which the number of images has to stay open
        return False
    suits = x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return suits and x.numel() >= LARGE


class Conv2d(nn.Module):
    """Convolution of odd size `kernel` (0: none) after resampling by 2 up or down with a small filter.

    `fused` (down only): convolve first, on a wider border, then filter without one.
    """

    resample_filter: Tensor  # [1,1,taps,taps]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        init: Init,
        resample: str = "",
        resample_filter: tuple[int, ...] = (1, 1),
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.kernel, self.resample, self.fused = kernel, resample, fused
        self.box = tuple(resample_filter) == (1, 1)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel)) if kernel else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if kernel else None
        if self.weight is not None:
            init.fill(self.weight, self.bias)
        if resample:
            f, total = resample_filter, sum(resample_filter) ** 2
            taps = [[[[a * b / total for a in f] for b in f]]]  # on "meta", torch would import its compiler
            self.register_buffer("resample_filter", torch.tensor(taps, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """x [N,in,H,W] -> [N,out,H',W']; H' = 2H up, H/2 down."""
        pad = self.kernel // 2
        if self.fused:
            border = (self.resample_filter.shape[-1] - 1) // 2
            return self._down(self._convolved(x, pad + border), 0)
        if self.resample:
            x = self._resampled(x)
        return self._convolved(x, pad)

    def _convolved(self, x: Tensor, pad: int) -> Tensor:
        return x if self.weight is None else F.conv2d(x, self.weight, self.bias, padding=pad)

    def _resampled(self, x: Tensor) -> Tensor:
        if self.box and not convolving_is_faster(x):  # the mean of 2x2 pixels, or their repetition
            return F.avg_pool2d(x, 2) if self.resample == "down" else F.interpolate(x, scale_factor=2, mode="nearest")
        border = (self.resample_filter.shape[-1] - 1) // 2
        if self.resample == "down":
            return self._down(x, border)
        f = 4 * self.resample_filter.expand(x.shape[1], -1, -1, -1)
        return F.conv_transpose2d(x, f, stride=2, padding=border, groups=x.shape[1])

    def _down(self, x: Tensor, border: int) -> Tensor:
        f = self.resample_filter.expand(x.shape[1], -1, -1, -1)
        return F.conv2d(x, f, stride=2, padding=border, groups=x.shape[1])


class PositionalEmbedding(nn.Module):
    """c_noise [N] -> [cos, sin] [N,channels] at geometric frequencies 1 ... 1/10000."""

    def __init__(self, channels: int, endpoint: bool) -> None:
        super().__init__()
        self.channels, self.endpoint = channels, endpoint

    def forward(self, c_noise: Tensor) -> Tensor:
        half = self.channels // 2
        steps = torch.arange(half, device=c_noise.device, dtype=c_noise.dtype) / (half - self.endpoint)
        angle = c_noise.outer((1 / 10000) ** steps)
        return torch.cat([angle.cos(), angle.sin()], dim=1)


class FourierEmbedding(nn.Module):
    """c_noise [N] -> [cos, sin] [N,channels] at random frequencies, kept with the weights."""

    freqs: Tensor

    def __init__(self, channels: int, scale: float = 16.0) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2, device="cpu") * scale)  # as above

    def forward(self, c_noise: Tensor) -> Tensor:
        angle = c_noise.outer(2 * math.pi * self.freqs)
        return torch.cat([angle.cos(), angle.sin()], dim=1)


def dropped(labels: Tensor, p: float, training: bool) -> Tensor:
    """In training, labels [N,L] with each row zeroed with probability p."""
    return labels * (noise.dropout(torch.ones_like(labels[:, :1]), p) > 0) if p and training else labels
