"""The residual block of both U-Nets, with its self-attention."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit import noise
from distillkit_edm.layers import Conv2d, Init, Linear, group_norm


class BlockStyle(NamedTuple):
    """What distinguishes the blocks of one architecture from those of another."""

    emb_channels: int
    dropout: float
    skip_scale: float  # of the sum of both branches
    eps: float  # of the group norms
    scale_shift: bool  # the embedding scales and shifts norm1's output; else it is added before norm1
    resample_proj: bool  # 1x1 convolution in the skip branch of every resampling block
    init: Init
    init_zero: Init
    init_attn: Init
    decoder_attn: bool = True  # in all blocks of an attention level; else in its last
    channels_per_head: int = 0  # 0: one head
    resample_filter: tuple[int, ...] = (1, 1)
    pyramid: bool = False  # downsampled input images are added at each level of the encoder

    def heads(self, channels: int) -> int:
        return max(1, channels // self.channels_per_head) if self.channels_per_head else 1


def attention(qkv: Tensor, heads: int, dtype: torch.dtype) -> Tensor:
    """Self-attention over pixels: qkv [N,3C,H,W], channels of a head in order q,k,v,q,k,v ... -> [N,C,H,W].

    The weights are computed in `dtype` even where autocast would do otherwise.
    """
    N, C, H, W = qkv.shape[0], qkv.shape[1] // 3, *qkv.shape[2:]
    q, k, v = qkv.reshape(N * heads, C // heads, 3, H * W).unbind(2)
    with torch.autocast(qkv.device.type, enabled=False):
        logits = q.to(dtype).transpose(1, 2) @ (k.to(dtype) / math.sqrt(C // heads))  # [N*heads, query, key]
        weights = logits.softmax(dim=2).to(v.dtype)
        return (v @ weights.transpose(1, 2)).reshape(N, C, H, W)


class UNetBlock(nn.Module):
    """norm0, silu, conv0 (resamples), embedding, norm1, silu, dropout, conv1, + skip; then attention."""

    def __init__(
        self, in_channels: int, out_channels: int, style: BlockStyle, resample: str = "", attn: bool = False
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.style = in_channels, out_channels, style
        self.heads = style.heads(out_channels) if attn else 0
        self.norm0 = group_norm(in_channels, style.eps)
        self.conv0 = Conv2d(in_channels, out_channels, 3, style.init, resample, style.resample_filter)
        self.affine = Linear(style.emb_channels, out_channels * (2 if style.scale_shift else 1), style.init)
        self.norm1 = group_norm(out_channels, style.eps)
        self.conv1 = Conv2d(out_channels, out_channels, 3, style.init_zero)
        self.skip = None
        if in_channels != out_channels or resample:
            kernel = 1 if style.resample_proj or in_channels != out_channels else 0
            self.skip = Conv2d(in_channels, out_channels, kernel, style.init, resample, style.resample_filter)
        if attn:
            self.norm2 = group_norm(out_channels, style.eps)
            self.qkv = Conv2d(out_channels, 3 * out_channels, 1, style.init_attn)
            self.proj = Conv2d(out_channels, out_channels, 1, style.init_zero)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x [N,in,H,W], emb [N or 1, emb_channels] -> [N,out,H',W']."""
        style = self.style
        h = self.conv0(F.silu(self.norm0(x)))
        a = self.affine(emb)[:, :, None, None]
        if style.scale_shift:
            scale, shift = a.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm1(h), scale + 1)
        else:
            h = self.norm1(h.add_(a))  # in place: a convolution's output is nobody else's, and not kept for gradients
        h = noise.dropout(F.silu(h), style.dropout, self.training)
        h = self._sum(self.conv1(h), x if self.skip is None else self.skip(x))
        if self.heads:
            mixed = attention(self.qkv(self.norm2(h)), self.heads, self.norm2.weight.dtype)
            h = self._sum(self.proj(mixed), h)
        return h

    def _sum(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum of both branches, scaled; into a, which is a convolution's output."""
        scale = self.style.skip_scale
        return a.add_(b) if scale == 1 else a.add_(b).mul_(scale)
