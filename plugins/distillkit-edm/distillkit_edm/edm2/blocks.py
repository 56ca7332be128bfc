"""EDM2's residual block with its cosine attention."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit import noise
from distillkit_edm.edm2.layers import MPConv, mp_silu, mp_sum, normalize


class BlockStyle(NamedTuple):
    """What all blocks of a network share."""

    emb_channels: int
    dropout: float
    dropout_resolution: int  # of a block's output, at most, for dropout
    res_balance: float  # share of the residual branch
    attn_balance: float  # share of self-attention
    channels_per_head: int
    clip_act: float  # largest activation


def attention(qkv: Tensor, heads: int) -> Tensor:
    """Cosine attention over pixels: qkv [N,3C,H,W], channels of a head in order q,k,v,q,k,v ... -> [N,C,H,W].

    Queries, keys and values are vectors of unit variance.
    """
    N, C, H, W = qkv.shape[0], qkv.shape[1] // 3, *qkv.shape[2:]
    q, k, v = normalize(qkv.reshape(N, heads, C // heads, 3, H * W), (2,)).unbind(3)
    weights = (q.mT @ (k / math.sqrt(C // heads))).softmax(dim=3)  # [N,heads,query,key]
    return (v @ weights.to(v.dtype).mT).reshape(N, C, H, W)


class Block(nn.Module):
    """Resampling, skip, conv_res0, embedding, conv_res1, + skip; then attention (arXiv:2312.02696, Figure 21)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style: BlockStyle,
        encodes: bool,
        resample: str = "",
        attn: bool = False,
    ) -> None:
        super().__init__()
        self.style, self.encodes, self.resample = style, encodes, resample
        self.heads = out_channels // style.channels_per_head if attn else 0
        self.emb_gain = nn.Parameter(torch.zeros([]))
        self.conv_res0 = MPConv(out_channels if encodes else in_channels, out_channels, 3)
        self.emb_linear = MPConv(style.emb_channels, out_channels, 0)
        self.conv_res1 = MPConv(out_channels, out_channels, 3)
        self.conv_skip = MPConv(in_channels, out_channels, 1) if in_channels != out_channels else None
        self.attn_qkv = MPConv(out_channels, 3 * out_channels, 1) if attn else None
        self.attn_proj = MPConv(out_channels, out_channels, 1) if attn else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x [N,in,H,W], emb [N or 1, emb_channels] -> [N,out,H',W']."""
        style, x = self.style, self._resampled(x)
        if self.encodes:
            x = normalize(self._skip(x), (1,))
        scale = self.emb_linear(emb, self.emb_gain) + 1
        y = self.conv_res0(mp_silu(x))
        y = mp_silu(y * scale[:, :, None, None].to(y.dtype))
        drops = self.training and y.shape[-1] <= style.dropout_resolution
        y = self.conv_res1(noise.dropout(y, style.dropout, drops))
        x = mp_sum(x if self.encodes else self._skip(x), y, style.res_balance)
        if self.attn_qkv is not None and self.attn_proj is not None:
            mixed = attention(self.attn_qkv(x), self.heads)
            x = mp_sum(x, self.attn_proj(mixed), style.attn_balance)
        return x.clamp(-style.clip_act, style.clip_act)

    def _skip(self, x: Tensor) -> Tensor:
        return x if self.conv_skip is None else self.conv_skip(x)

    def _resampled(self, x: Tensor) -> Tensor:
        """The mean of 2x2 pixels, or their repetition."""
        if not self.resample:
            return x
        return F.avg_pool2d(x, 2) if self.resample == "down" else F.interpolate(x, scale_factor=2, mode="nearest")
