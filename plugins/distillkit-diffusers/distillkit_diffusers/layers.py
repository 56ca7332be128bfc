"""Layers of diffusers' U-Nets, with its names of weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from distillkit import noise
from distillkit.api import frozen

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu, "swish": F.silu, "mish": F.mish, "gelu": F.gelu, "relu": F.relu,
}  # fmt: skip
LONGEST = 10_000  # period of a time feature


@frozen(kw_only=True)
class Style:
    """What all blocks of a network share."""

    emb: int  # width of the embedding of time and class
    groups: int  # of group norms
    eps: float  # of group norms
    act: str  # between layers
    scale_shift: bool  # the embedding scales and shifts what the second norm gives; else it is added before that
    head_dim: int | None  # channels of a head of attention; None: one head
    dropout: float
    padding: int  # of strided convolutions; 0: on the right and below alone
    down: str  # how levels are halved: "conv", "resnet"
    up: str


def time_features(t: Tensor, width: int, *, cosine_first: bool, shift: float) -> Tensor:
    """Sines and cosines of t [N] -> [N,width], in single precision, as these networks have learned them."""
    half = width // 2
    omega = torch.exp(-math.log(LONGEST) * torch.arange(half, dtype=torch.float32, device=t.device) / (half - shift))
    angles = t.float()[:, None] * omega
    waves = [angles.cos(), angles.sin()] if cosine_first else [angles.sin(), angles.cos()]
    return F.pad(torch.cat(waves, dim=1), (0, width % 2))


class Embedding(nn.Module):
    """Features of a number [N,width] -> [N,emb]."""

    def __init__(self, width: int, emb: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(width, emb), nn.Linear(emb, emb)

    def forward(self, features: Tensor) -> Tensor:
        return torch.as_tensor(self.linear_2(F.silu(self.linear_1(features))))


class Resnet(nn.Module):
    """norm, activation, convolution, embedding, norm, activation, dropout, convolution, + the input."""

    def __init__(self, inputs: int, outputs: int, style: Style, resample: str = "", scale: float = 1.0) -> None:
        """`resample`: "up" | "down", before the first convolution; `scale` divides the result."""
        super().__init__()
        self.style, self.resample, self.scale = style, resample, scale
        self.norm1 = nn.GroupNorm(style.groups, inputs, style.eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(style.emb, outputs * (2 if style.scale_shift else 1))
        self.norm2 = nn.GroupNorm(style.groups, outputs, style.eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x [N,C,h,w], emb [N,emb] -> [N,C',h',w']."""
        act = ACTIVATIONS[self.style.act]
        h = self.resampled(act(self.norm1(x)))
        h = self.conv1(h)
        e = self.time_emb_proj(act(emb))[:, :, None, None]
        if self.style.scale_shift:
            scale, shift = e.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + e)
        h = self.conv2(noise.dropout(act(h), self.style.dropout, self.training))
        x = self.resampled(x)
        return torch.as_tensor((x if self.conv_shortcut is None else self.conv_shortcut(x)) + h) / self.scale

    def resampled(self, x: Tensor) -> Tensor:
        """x at the size of the result."""
        return {"": x.view_as, "down": lambda x: F.avg_pool2d(x, 2), "up": doubled}[self.resample](x)


class Attention(nn.Module):
    """Self-attention over pixels [N,C,h,w], + the input."""

    def __init__(self, channels: int, style: Style, groups: int | None, scale: float = 1.0) -> None:
        """`groups`: of the norm before; None: there is none."""
        super().__init__()
        dim = style.head_dim or channels
        self.heads, self.scale = channels // dim, scale
        inner = self.heads * dim
        self.group_norm = None if groups is None else nn.GroupNorm(groups, channels, style.eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(inner, channels)])

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        N, C, H, W = x.shape
        h = (x if self.group_norm is None else self.group_norm(x)).flatten(2).transpose(1, 2)
        q, k, v = (
            layer(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        h = self.to_out[0](attend(q, k, v).transpose(1, 2).flatten(2))
        return torch.as_tensor(h.transpose(1, 2).reshape(N, C, H, W) + x) / self.scale


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of [N,heads,T,d]."""
    if forward_ad._current_level < 0:
        return F.scaled_dot_product_attention(q, k, v)
    # Fused attention has no forward-mode derivative.
    return (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v


class Halve(nn.Module):
    """A strided convolution."""

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.beside = style.padding == 0
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=style.padding)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return torch.as_tensor(self.conv(F.pad(x, (0, 1, 0, 1)) if self.beside else x))


class Double(nn.Module):
    """Each pixel four times, and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return torch.as_tensor(self.conv(doubled(x)))


def doubled(x: Tensor) -> Tensor:
    """Each pixel four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
