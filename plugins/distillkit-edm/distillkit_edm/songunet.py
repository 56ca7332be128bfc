"""SongUNet: the U-Net of DDPM++ and NCSN++ in EDM's arrangement (arXiv:2011.13456, arXiv:2206.00364)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distillkit_edm.blocks import BlockStyle
from distillkit_edm.layers import Conv2d, FourierEmbedding, Init, Linear, PositionalEmbedding, dropped, group_norm
from distillkit_edm.unet import UNet

EPS = 1e-6
INIT, INIT_ZERO, INIT_ATTN = Init(True), Init(True, 1e-5), Init(True, math.sqrt(0.2))


class SongUNet(UNet):
    """F(x [N,C,H,W], c_noise [N]) -> [N,C,H,W]; `ncsnpp`: Fourier embedding, residual input pyramid, wider filter."""

    def __init__(
        self,
        resolution: int,
        channels: int,
        label_dim: int,
        ncsnpp: bool,
        model_channels: int,
        channel_mult: tuple[int, ...],
        channel_mult_emb: int,
        num_blocks: int,
        attn_resolutions: tuple[int, ...],
        dropout: float,
        label_dropout: float,
        augment_dim: int,
    ) -> None:
        emb, noise = model_channels * channel_mult_emb, model_channels * (2 if ncsnpp else 1)
        widths = [model_channels * mult for mult in channel_mult]
        style = BlockStyle(
            emb_channels=emb, dropout=dropout, skip_scale=math.sqrt(0.5), eps=EPS, scale_shift=False,
            resample_proj=True, decoder_attn=False, init=INIT, init_zero=INIT_ZERO, init_attn=INIT_ATTN,
            resample_filter=(1, 3, 3, 1) if ncsnpp else (1, 1), pyramid=ncsnpp,
        )  # fmt: skip
        super().__init__(resolution, channels, model_channels, widths, num_blocks, attn_resolutions, style)
        self.label_dropout = label_dropout
        self.map_noise = FourierEmbedding(noise) if ncsnpp else PositionalEmbedding(noise, endpoint=True)
        self.map_label = Linear(label_dim, noise, INIT) if label_dim else None
        self.map_augment = Linear(augment_dim, noise, INIT, bias=False) if augment_dim else None
        self.map_layer0 = Linear(noise, emb, INIT)
        self.map_layer1 = Linear(emb, emb, INIT)
        self.last = f"{resolution}x{resolution}"
        self.dec[f"{self.last}_aux_norm"] = group_norm(widths[0], EPS)
        self.dec[f"{self.last}_aux_conv"] = Conv2d(widths[0], channels, 3, INIT_ZERO)

    def embed(self, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """c_noise [N], labels [N,L], augment_labels [N,A] -> embedding [N,emb]."""
        cos, sin = self.map_noise(c_noise).chunk(2, dim=1)
        emb = torch.cat([sin, cos], dim=1)
        if self.map_label is not None and labels is not None:
            labels = dropped(labels, self.label_dropout, self.training)
            emb = emb + self.map_label(labels * math.sqrt(labels.shape[1]))
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))

    def output(self, x: Tensor) -> Tensor:
        norm, conv = self.dec[f"{self.last}_aux_norm"], self.dec[f"{self.last}_aux_conv"]
        F_x: Tensor = conv(F.silu(norm(x)))
        return F_x
