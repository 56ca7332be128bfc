"""DhariwalUNet: the U-Net of ADM in EDM's arrangement (arXiv:2105.05233, arXiv:2206.00364)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from distillkit_edm.blocks import BlockStyle
from distillkit_edm.layers import Conv2d, Init, Linear, PositionalEmbedding, dropped, group_norm
from distillkit_edm.unet import UNet

EPS = 1e-5
INIT, INIT_ZERO = Init(False), Init(False, 0.0)


class DhariwalUNet(UNet):
    """F(x [N,C,H,W], c_noise [N]) -> [N,C,H,W]."""

    def __init__(
        self,
        resolution: int,
        channels: int,
        label_dim: int,
        model_channels: int,
        channel_mult: tuple[int, ...],
        channel_mult_emb: int,
        num_blocks: int,
        attn_resolutions: tuple[int, ...],
        channels_per_head: int,
        dropout: float,
        label_dropout: float,
        augment_dim: int,
    ) -> None:
        emb = model_channels * channel_mult_emb
        widths = [model_channels * mult for mult in channel_mult]
        style = BlockStyle(
            emb_channels=emb, dropout=dropout, skip_scale=1.0, eps=EPS, scale_shift=True, resample_proj=False,
            decoder_attn=True, init=INIT, init_zero=INIT_ZERO, init_attn=INIT, channels_per_head=channels_per_head,
        )  # fmt: skip
        super().__init__(resolution, channels, widths[0], widths, num_blocks, attn_resolutions, style)
        self.label_dropout = label_dropout
        self.map_noise = PositionalEmbedding(model_channels, endpoint=False)
        self.map_augment = Linear(augment_dim, model_channels, INIT_ZERO, bias=False) if augment_dim else None
        self.map_layer0 = Linear(model_channels, emb, INIT)
        self.map_layer1 = Linear(emb, emb, INIT)
        self.map_label = Linear(label_dim, emb, INIT, bias=False) if label_dim else None
        if self.map_label is not None:
            nn.init.normal_(self.map_label.weight)
        self.out_norm = group_norm(widths[0], EPS)
        self.out_conv = Conv2d(widths[0], channels, 3, INIT_ZERO)

    def embed(self, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """c_noise [N], labels [N,L], augment_labels [N,A] -> embedding [N,emb]."""
        emb = self.map_noise(c_noise)
        if self.map_augment is not None and augment_labels is not None:
            emb = emb + self.map_augment(augment_labels)
        emb = self.map_layer1(F.silu(self.map_layer0(emb)))
        if self.map_label is not None and labels is not None:
            emb = emb + self.map_label(dropped(labels, self.label_dropout, self.training))
        return F.silu(emb)

    def output(self, x: Tensor) -> Tensor:
        F_x: Tensor = self.out_conv(F.silu(self.out_norm(x)))
        return F_x
