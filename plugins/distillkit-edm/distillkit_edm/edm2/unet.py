"""EDM2's U-Net, configuration G of arXiv:2312.02696."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from distillkit_edm.edm2.blocks import Block, BlockStyle
from distillkit_edm.edm2.layers import MPConv, MPFourier, mp_cat, mp_silu, mp_sum


class Edm2UNet(nn.Module):
    """F(x [N,C,H,W], c_noise [N]) -> [N,C,H,W]; level l works at resolution >> l with `widths[l]` channels."""

    def __init__(
        self,
        resolution: int,
        channels: int,
        label_dim: int,
        widths: list[int],
        num_blocks: int,
        attn_resolutions: tuple[int, ...],
        label_balance: float,
        concat_balance: float,
        style: BlockStyle,
    ) -> None:
        super().__init__()
        self.style, self.label_balance, self.concat_balance = style, label_balance, concat_balance
        self.out_gain = nn.Parameter(torch.zeros([]))
        self.emb_fourier = MPFourier(widths[0])
        self.emb_noise = MPConv(widths[0], style.emb_channels, 0)
        self.emb_label = MPConv(label_dim, style.emb_channels, 0) if label_dim else None
        levels = [(resolution >> level, width) for level, width in enumerate(widths)]
        self.enc, skips = self._encoder(levels, channels, num_blocks, attn_resolutions)
        self.dec = self._decoder(levels, num_blocks, attn_resolutions, skips)
        self.out_conv = MPConv(widths[0], channels, 3)

    def _encoder(
        self, levels: list[tuple[int, int]], channels: int, num_blocks: int, attn_resolutions: tuple[int, ...]
    ) -> tuple[nn.ModuleDict, list[int]]:
        """The encoder and the widths of its outputs; the image comes with a channel of ones."""
        top, width = levels[0]
        enc, skips = nn.ModuleDict({f"{top}x{top}_conv": MPConv(channels + 1, width, 3)}), [width]
        for at, out in levels:
            if at != top:
                enc[f"{at}x{at}_down"] = Block(width, width, self.style, True, "down")
                skips.append(width)
            for i in range(num_blocks):
                enc[f"{at}x{at}_block{i}"] = Block(width, out, self.style, True, attn=at in attn_resolutions)
                width = out
                skips.append(width)
        return enc, skips

    def _decoder(
        self, levels: list[tuple[int, int]], num_blocks: int, attn_resolutions: tuple[int, ...], skips: list[int]
    ) -> nn.ModuleDict:
        dec, (bottom, width) = nn.ModuleDict(), levels[-1]
        for at, out in reversed(levels):
            if at == bottom:
                dec[f"{at}x{at}_in0"] = Block(width, width, self.style, False, attn=True)
                dec[f"{at}x{at}_in1"] = Block(width, width, self.style, False)
            else:
                dec[f"{at}x{at}_up"] = Block(width, width, self.style, False, "up")
            for i in range(num_blocks + 1):
                attn = at in attn_resolutions
                dec[f"{at}x{at}_block{i}"] = Block(width + skips.pop(), out, self.style, False, attn=attn)
                width = out
        return dec

    def embed(self, c_noise: Tensor, labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """c_noise [N], labels [N,L] -> embedding [N,emb]; EDM2 has no augmentation labels."""
        emb = self.emb_noise(self.emb_fourier(c_noise))
        if self.emb_label is not None and labels is not None:
            emb = mp_sum(emb, self.emb_label(labels * math.sqrt(labels.shape[1])), self.label_balance)
        return mp_silu(emb)

    def encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """All skip connections; the last is the last encoder block's output [N,c,h,w]."""
        x, skips = torch.cat([x, torch.ones_like(x[:, :1])], dim=1), []
        for module in self.enc.values():
            x = module(x, emb) if isinstance(module, Block) else module(x)
            skips.append(x)
        return skips

    def decode(self, skips: list[Tensor], emb: Tensor) -> Tensor:
        """What `encode` returned -> the raw output F [N,C,H,W]."""
        x, skips = skips[-1], list(skips)
        for name, block in self.dec.items():
            if "block" in name:
                x = mp_cat(x, skips.pop(), self.concat_balance)
            x = block(x, emb)
        F_x: Tensor = self.out_conv(x, self.out_gain)
        return F_x
