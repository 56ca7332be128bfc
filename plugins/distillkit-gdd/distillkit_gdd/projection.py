"""Projected GAN's view of an image: a backbone's maps, mixed across channels and scales by random convolutions.

All frozen (arXiv:2111.01007, section 3.2). CCM: a 1x1 convolution of every map to c, 2c, 4c, 8c channels, finest first.
CSM, from the coarsest map up: add what came from below, upsample by 2, 1x1 convolution to half the channels (none
halved at the finest), so that every map leaves at twice its resolution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit.api import UsageError


class Projection(nn.Module):
    """x [N,C,H,W], labels [N,L], randn_like -> mixed maps [N,c_i,h_i,w_i], finest first."""

    def __init__(self, backbone: nn.Module, probe: Tensor, labels: Tensor | None, channels: int) -> None:
        """`probe` [1,C,H,W] and `labels` find the shapes of the maps; torch's global generator makes the weights."""
        super().__init__()
        self.backbone = backbone
        with torch.no_grad():
            maps = backbone(probe, labels, torch.zeros_like)
        if not maps:
            raise UsageError(
                f"backbone {type(backbone).__name__} has no feature maps for images {list(probe.shape[1:])}"
            )
        widths = [channels * 2**i for i in range(len(maps))]
        halves = [max(width // 2, channels) for width in widths]
        self.ccm = nn.ModuleList(nn.Conv2d(m.shape[1], width, 1) for m, width in zip(maps, widths, strict=True))
        self.csm = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, halves, strict=True))
        self.to(probe).eval().requires_grad_(False)

    def forward(self, x: Tensor, labels: Tensor | None, randn_like: Callable[[Tensor], Tensor]) -> list[Tensor]:
        maps = [conv(m) for conv, m in zip(self.ccm, self.backbone(x, labels, randn_like), strict=True)]
        mixed_maps: list[Tensor] = []
        for i in reversed(range(len(maps))):
            mixed = maps[i] + mixed_maps[-1] if mixed_maps else maps[i]
            size = maps[i - 1].shape[2:] if i else [2 * side for side in mixed.shape[2:]]  # published: 2 h everywhere
            mixed = F.interpolate(mixed, size=tuple(size), mode="bilinear", align_corners=True)
            mixed_maps.append(self.csm[i](mixed))
        return mixed_maps[::-1]
