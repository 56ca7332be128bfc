"""The part of the discriminator that trains: small spectrally normalised networks on projected maps.

Source: Projected GAN (arXiv:2111.01007) and StyleGAN-XL (arXiv:2202.00273), as GDD uses them.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit_gdd.spectral import SpectralConv2d

# Width at a resolution, as a share of the width at 8: 512, 256, 128, 64, 64, 32 channels in the published networks.
SHARE = {4: 1, 8: 1, 16: 1 / 2, 32: 1 / 4, 64: 1 / 8, 128: 1 / 8, 256: 1 / 16}


def nominal(size: int) -> int:
    """The power of two that stands for a map's size: 112 counts as 128."""
    return int(2 ** round(math.log2(size)))


def width_at(size: int, width: int) -> int:
    return max(round(width * SHARE[min(max(size, 4), 256)]), 1)


class Head(nn.Module):
    """Map [N,c,h,w] -> logits [N,k]: halve down to `end` pixels, then one convolution, 4x4 where it fits.

    With labels the convolution gives 64 channels, and the logits are their product with a map of the label's
    embedding (projection discriminator, arXiv:1802.05637).
    """

    def __init__(self, channels: int, size: int, end: int, width: int, classes: int, embedding: int, cmap: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while nominal(size) > end:
            size //= 2
            out = width_at(nominal(size), width)
            layers += [SpectralConv2d(channels, out, 4, 2, 1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2)]
            channels = out
        self.layers = nn.Sequential(*layers)
        self.cls = SpectralConv2d(channels, cmap if classes else 1, min(4, size), bias=False)
        self.label = LabelMap(classes, embedding, cmap) if classes else None

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        out: Tensor = self.cls(self.layers(x))
        if self.label is not None:
            out = (out * self.label(labels)).sum(1, keepdim=True) / math.sqrt(out.shape[1])
        return out.flatten(1)


class LabelMap(nn.Module):
    """One-hot labels [N,L] -> [N,cmap,1,1]: an embedding, which trains, and StyleGAN's linear layer with lrelu."""

    def __init__(self, classes: int, embedding: int, cmap: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, embedding)
        self.weight = nn.Parameter(torch.randn(cmap, embedding))
        self.bias = nn.Parameter(torch.zeros(cmap))

    def forward(self, labels: Tensor) -> Tensor:
        e = self.embed(labels.argmax(1))
        y = F.linear(e, self.weight / math.sqrt(e.shape[1]), self.bias)
        return (F.leaky_relu(y, 0.2) * math.sqrt(2))[:, :, None, None]


class Heads(nn.ModuleList):
    """One list of heads per backbone: projected maps of each -> logits [N,K] of each."""

    def spectral_norms_follow(self) -> None:
        """Let the next pass, and none after it, make a power iteration."""
        for module in self.modules():
            if isinstance(module, SpectralConv2d):
                module.due = True

    def forward(self, maps: list[list[Tensor]], labels: Tensor | None) -> list[Tensor]:
        return [
            torch.cat([head(m, labels) for head, m in zip(cast(nn.ModuleList, heads), own, strict=True)], 1)
            for heads, own in zip(self, maps, strict=True)
        ]
