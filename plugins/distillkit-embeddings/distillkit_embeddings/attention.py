"""One self-attention block over patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distillkit.api import Embedding, UsageError, field, frozen, ge, optional
from distillkit_embeddings.layers import frozen_module

TOKENS = 8  # patches per side, at most, unless `patch` says otherwise


class Attention(Embedding):
    """Random attention network: patches, one block of attention, moments over tokens (arXiv:2604.22379)."""

    tiny = {"width": 32}

    @frozen(kw_only=True)
    class Config:
        width: int = field(default=64, validator=ge(4))  # of a token; a multiple of heads
        heads: int = field(default=4, validator=ge(1))  # of the attention
        patch: int | None = field(default=None, validator=optional(ge(1)))
        """pixels of a patch's side; unset: at most 8x8 patches, of 2 pixels or more"""

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        config = self.config
        if config.width % config.heads:
            raise UsageError(f"attention: width must be a multiple of heads = {config.heads}: {config.width}")
        patch = config.patch or max(2, -(-resolution // TOKENS))
        return frozen_module(lambda: Tokens(resolution, channels, patch, config.width, config.heads), seed)


class Tokens(nn.Module):
    """x [N,C,H,W] -> [N, 2 * width]: mean and deviation of the transformed patches."""

    def __init__(self, resolution: int, channels: int, patch: int, width: int, heads: int) -> None:
        super().__init__()
        side = -(-resolution // patch)
        self.side, self.patch, self.padding, self.heads = side, patch, side * patch - resolution, heads
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(0.5 * torch.randn(side * side, width))
        self.norm = nn.LayerNorm(width)
        # Rows of unit length make queries and keys of unit variance, so the attention is far from uniform.
        self.qkv = nn.Parameter(torch.randn(3 * width, width) / width**0.5)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.ReLU(inplace=True), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self._tokens(x) + self.position  # [N, tokens, width]
        h = h + self._attend(self.norm(h))
        h = h + self.mlp(h)
        mean = h.mean(1)
        variance = (h - mean[:, None]).square().mean(1)
        return torch.cat([mean, (variance + 1e-6).sqrt()], 1)  # 1e-6: a finite slope for equal tokens

    def _tokens(self, x: Tensor) -> Tensor:
        if self.padding:
            x = F.pad(x, (0, self.padding, 0, self.padding))
        # The convolution as a matrix product: a third of the time, its backward included.
        parts = x.unflatten(3, (self.side, self.patch)).unflatten(2, (self.side, self.patch)).permute(0, 2, 4, 1, 3, 5)
        return F.linear(parts.flatten(3).flatten(1, 2), self.patches.weight.flatten(1), self.patches.bias)

    def _attend(self, h: Tensor) -> Tensor:
        # Written out: tokens are few, and the fused kernels' backward on a GPU does not repeat bit for bit.
        n, tokens, width = h.shape
        q, k, v = (h @ self.qkv.T).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weight = (q @ k.mT * (width // self.heads) ** -0.5).softmax(-1)
        out: Tensor = (weight @ v).transpose(1, 2).reshape(n, tokens, width)
        return out
