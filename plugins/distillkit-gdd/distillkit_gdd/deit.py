"""DeiT-base, distilled, as a backbone: GDD uses it for images of 64 pixels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import State, frozen, ge
from distillkit.api import field as key
from distillkit_gdd.published import Normalised, Published, PublishedConfig

DIM, DEPTH, HEADS, PATCH, SIZE = 768, 12, 12, 16, 224
TAPS, TOKENS = (2, 5, 8, 11), 2  # blocks whose outputs are the maps; class and distillation token


def _patches(instance: Any, attribute: Any, value: int) -> None:
    if value % PATCH or value < 2 * PATCH:
        raise ValueError(f"'size' must be a multiple of {PATCH}, at least {2 * PATCH}: {value}")


class Deit(Published):
    """DeiT-base distilled, published weights by path, timm's names (arXiv:2012.12877)."""

    @frozen(kw_only=True)
    class Config(PublishedConfig):
        size: int = key(default=SIZE, validator=_patches)
        """pixels that images are scaled to; of fewer the position embedding is interpolated"""
        seed: int = key(default=0, validator=ge(0))  # of the frozen random convolutions behind it, beside the run's

    config: Config

    def layers(self) -> nn.Module:
        return Transformer()

    def module(self, state: State) -> Normalised:
        """The transformer's tokens as maps at four scales. Raises InputError for other weights."""
        net = super().module(state)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(noise.fold(state.seed, "deit", self.config.seed))
            net.net = nn.Sequential(net.net, Scales())
        return net.eval().requires_grad_(False)


class Block(nn.Module):
    """Self-attention and a two-layer network, each behind a norm and beside a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(DIM, 1e-6), nn.LayerNorm(DIM, 1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(DIM, 3 * DIM), "proj": nn.Linear(DIM, DIM)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(DIM, 4 * DIM), "fc2": nn.Linear(4 * DIM, DIM)})

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn["qkv"](self.norm1(x)).unflatten(2, (3, HEADS, DIM // HEADS)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / (DIM // HEADS) ** 0.5).softmax(-1)  # plain: R1 needs second derivatives
        x = x + self.attn["proj"]((weights @ v).transpose(1, 2).flatten(2))
        h: Tensor = x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return h


class Transformer(nn.Module):
    """x [N,3,224,224] -> tokens of four blocks as maps [N,768,14,14]."""

    def __init__(self) -> None:
        super().__init__()
        side = SIZE // PATCH
        self.cls_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.zeros(1, TOKENS + side**2, DIM))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, DIM, PATCH, PATCH)})
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))

    def forward(self, x: Tensor) -> list[Tensor]:
        patches = self.patch_embed["proj"](x)
        side, n = patches.shape[2], len(x)
        tokens = [self.cls_token.expand(n, -1, -1), self.dist_token.expand(n, -1, -1), patches.flatten(2).mT]
        x, maps = torch.cat(tokens, 1) + self._positions(side), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in TAPS:
                maps.append(x[:, TOKENS:].mT.unflatten(2, (side, side)))
        return maps

    def _positions(self, side: int) -> Tensor:
        """[1,2+side^2,768]; the published ones at 14 patches a side."""
        tokens, patches = self.pos_embed[:, :TOKENS], self.pos_embed[:, TOKENS:]
        if side**2 == patches.shape[1]:
            return self.pos_embed
        grid = patches.mT.unflatten(2, (SIZE // PATCH, SIZE // PATCH))
        grid = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True)
        return torch.cat([tokens, grid.flatten(2).mT], 1)


class Scales(nn.Module):
    """Maps [N,768,14,14] -> [N,96,56,56], [N,192,28,28], [N,384,14,14], [N,768,7,7]; random, frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ModuleList([
            nn.Sequential(nn.Conv2d(DIM, 96, 1), nn.ConvTranspose2d(96, 96, 4, 4)),
            nn.Sequential(nn.Conv2d(DIM, 192, 1), nn.ConvTranspose2d(192, 192, 2, 2)),
            nn.Conv2d(DIM, 384, 1),
            nn.Sequential(nn.Conv2d(DIM, 768, 1), nn.Conv2d(768, 768, 3, 2, 1)),
        ])  # fmt: skip

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        return [layer(m) for layer, m in zip(self.scales, maps, strict=True)]
