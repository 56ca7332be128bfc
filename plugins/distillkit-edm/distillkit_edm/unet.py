"""The plan that both U-Nets share: an encoder that stacks skip connections and a decoder that pops them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distillkit_edm.blocks import BlockStyle, UNetBlock
from distillkit_edm.layers import Conv2d


class UNet(nn.Module):
    """Modules `enc` and `dec` by name; level l works at resolution >> l with `widths[l]` channels."""

    def __init__(
        self,
        resolution: int,
        channels: int,
        first: int,
        widths: list[int],
        num_blocks: int,
        attn_resolutions: tuple[int, ...],
        style: BlockStyle,
    ) -> None:
        super().__init__()
        self.style = style
        self.enc, skips = nn.ModuleDict(), []
        width, aux = first, channels
        for level, out in enumerate(widths):
            at = f"{resolution >> level}x{resolution >> level}"
            attn = resolution >> level in attn_resolutions
            if level == 0:
                self.enc[f"{at}_conv"] = Conv2d(channels, width, 3, style.init)
            else:
                self.enc[f"{at}_down"] = UNetBlock(width, width, style, "down")
            skips.append(width)
            if level and style.pyramid:
                f = style.resample_filter
                self.enc[f"{at}_aux_residual"] = Conv2d(aux, width, 3, style.init, "down", f, fused=True)
                aux = width
            for i in range(num_blocks):
                self.enc[f"{at}_block{i}"] = UNetBlock(width, out, style, attn=attn)
                width = out
                skips.append(width)
        self.dec = self._decoder(resolution, widths, num_blocks, attn_resolutions, skips)

    def _decoder(
        self, resolution: int, widths: list[int], num_blocks: int, attn_resolutions: tuple[int, ...], skips: list[int]
    ) -> nn.ModuleDict:
        style, dec, width = self.style, nn.ModuleDict(), widths[-1]
        for level, out in reversed(list(enumerate(widths))):
            at = f"{resolution >> level}x{resolution >> level}"
            if level == len(widths) - 1:
                dec[f"{at}_in0"] = UNetBlock(width, width, style, attn=True)
                dec[f"{at}_in1"] = UNetBlock(width, width, style)
            else:
                dec[f"{at}_up"] = UNetBlock(width, width, style, "up")
            for i in range(num_blocks + 1):
                attn = resolution >> level in attn_resolutions and (style.decoder_attn or i == num_blocks)
                dec[f"{at}_block{i}"] = UNetBlock(width + skips.pop(), out, style, attn=attn)
                width = out
        return dec

    def encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """All skip connections; the last is the last encoder block's output [N,c,h,w]."""
        skips: list[Tensor] = []
        aux = x
        for name, module in self.enc.items():
            if name.endswith("aux_residual"):
                x = skips[-1] = aux = (x + module(aux)) * self.style.skip_scale
            else:
                x = module(x, emb) if isinstance(module, UNetBlock) else module(x)
                skips.append(x)
        return skips

    def decode(self, skips: list[Tensor], emb: Tensor) -> Tensor:
        """What `encode` returned -> the raw output F [N,C,H,W]."""
        x, skips = skips[-1], list(skips)
        for block in self.dec.values():
            if isinstance(block, UNetBlock):
                x = torch.cat([x, skips.pop()], dim=1) if x.shape[1] != block.in_channels else x
                x = block(x, emb)
        return self.output(x)

    def output(self, x: Tensor) -> Tensor:
        """The decoder's last features -> F."""
        raise NotImplementedError
