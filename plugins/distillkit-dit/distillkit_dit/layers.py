"""Layers of diffusion transformers, named in the state dict as in the released checkpoints (arXiv:2212.09748)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

FREQUENCIES = 256  # of a time, sines and cosines together
LONGEST = 10_000.0  # period


def grid_embedding(width: int, side: int) -> Tensor:
    """Sines and cosines of the places of side x side tokens, [1,side^2,width]; the column comes first."""
    omega = LONGEST ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    row, column = torch.meshgrid(*(torch.arange(side, dtype=torch.float64),) * 2, indexing="ij")
    angles = [place.reshape(-1, 1) * omega for place in (column, row)]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1)[None].float()


class PatchEmbed(nn.Module):
    """x [N,C,H,W] -> tokens [N,T,width], one for each patch of p x p pixels."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))
        nn.init.zeros_(self.proj.bias if self.proj.bias is not None else torch.empty(0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.proj(x)).flatten(2).transpose(1, 2)


class TimeEmbed(nn.Module):
    """t [N] -> [N,width], by cosines and sines; the layers are called `name`.0 and `name`.2 in the state dict.

    `silent`: zero at first, as a further input of a student that starts from a teacher's weights (convert.Further).
    """

    def __init__(self, width: int, name: str, silent: bool = False) -> None:
        super().__init__()
        first, last = nn.Linear(FREQUENCIES, width), nn.Linear(width, width)
        for layer in (first, last):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        if silent:
            nn.init.zeros_(last.weight)
        self.name = name
        self.add_module(name, nn.Sequential(first, nn.SiLU(), last))

    @property
    def silent(self) -> bool:
        """Whether it adds nothing yet."""
        layer = self.get_submodule(f"{self.name}.2")
        return all(p.is_meta or not p.any() for p in layer.parameters())

    def forward(self, t: Tensor) -> Tensor:
        half = FREQUENCIES // 2
        omega = torch.exp(-math.log(LONGEST) * torch.arange(half, dtype=t.dtype, device=t.device) / half)
        angles, layers = t[:, None] * omega, self.get_submodule(self.name)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return torch.as_tensor(layers(waves.to(next(layers.parameters()).dtype)))


class LabelEmbed(nn.Module):
    """Labels [N,L] or None -> [N,width]; what is missing of a row's sum to one is given to a further row, "none"."""

    def __init__(self, labels: int, width: int, name: str) -> None:
        super().__init__()
        table = nn.Embedding(labels + 1, width)
        nn.init.normal_(table.weight, std=0.02)
        self.add_module(name, table)
        self.name = name

    def forward(self, labels: Tensor | None) -> Tensor:
        weight = torch.as_tensor(getattr(self, self.name).weight)
        if labels is None:
            return weight[-1:]
        labels = labels.to(weight.dtype)
        return torch.cat([labels, 1 - labels.sum(1, keepdim=True)], dim=1) @ weight


class Attention(nn.Module):
    """Self-attention of tokens [N,T,width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = linear(width, 3 * width), linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        N, T, width = x.shape
        q, k, v = torch.as_tensor(self.qkv(x)).reshape(N, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return torch.as_tensor(self.proj(attend(q, k, v).transpose(1, 2).reshape(N, T, width)))


class CrossAttention(nn.Module):
    """Attention of tokens [N,T,width] to words [N,S,width]; zero at first, as in PixArt (arXiv:2310.00426)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear, self.kv_linear, self.proj = linear(width, width), linear(width, 2 * width), linear(width, width)
        nn.init.zeros_(self.proj.weight)

    def forward(self, x: Tensor, words: Tensor, seen: Tensor) -> Tensor:
        """`seen` [N,S]: which words are there, at least one in each row."""
        N, T, width = x.shape
        q = torch.as_tensor(self.q_linear(x)).reshape(N, T, self.heads, -1).transpose(1, 2)
        k, v = torch.as_tensor(self.kv_linear(words)).reshape(N, -1, 2, self.heads, q.shape[-1]).permute(2, 0, 3, 1, 4)
        return torch.as_tensor(self.proj(attend(q, k, v, seen[:, None, None]).transpose(1, 2).reshape(N, T, width)))


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v of [N,heads,T,d], over the keys that are `seen`, a bool that broadcasts to them."""
    if forward_ad._current_level < 0:
        return F.scaled_dot_product_attention(q, k, v, seen)
    # Fused attention has no forward-mode derivative.
    logits = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return (logits if seen is None else logits.masked_fill(~seen, -math.inf)).softmax(-1) @ v


class Mlp(nn.Module):
    """Two layers and a GELU."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = linear(inputs, hidden), linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.fc2(F.gelu(self.fc1(x), approximate="tanh")))


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer of the transformer with its first weights."""
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def modulation(width: int, parts: int) -> nn.Sequential:
    """c [N,width] -> shifts, scales and gates [N,parts width], zero at first (adaLN-Zero)."""
    layer = nn.Linear(width, parts * width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.SiLU(), layer)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised tokens [N,T,width], scaled and shifted by [N,width]."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]
