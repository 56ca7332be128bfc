"""A transformer that reads words: self-attention, cross-attention to embedded words, an MLP (arXiv:2310.00426)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distillkit.api import Layout
from distillkit_dit.layers import CrossAttention, Mlp, modulated
from distillkit_dit.transformer import Block, Names, Transformer


class TextBlock(Block):
    """Attention, attention to words and an MLP; the first and the last are modulated and gated by c [N,width]."""

    def __init__(self, width: int, heads: int, hidden: int, names: Names) -> None:
        super().__init__(width, heads, hidden, names)
        self.cross_attn = CrossAttention(width, heads)

    def forward(self, x: Tensor, c: Tensor, words: Tensor, seen: Tensor) -> Tensor:  # type: ignore[override]
        """x [N,T,width], words [N,S,width], and which of them are there [N,S]."""
        modulate, attention, mlp = (self.get_submodule(name) for name in self.parts)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulate(c).chunk(6, dim=1)
        x = x + gate[:, None] * attention(modulated(x, shift, scale))
        x = x + self.cross_attn(x, words, seen)
        return torch.as_tensor(x + gate_mlp[:, None] * mlp(modulated(x, shift_mlp, scale_mlp)))


class TextTransformer(Transformer):
    """Labels are rows of `layout`: words, their mask and perhaps a pooled vector, which joins the time.

    Rows of zeros ask for nothing: they see one learned word, "none", in place of words.
    """

    block: ClassVar[type[Block]] = TextBlock

    def __init__(self, resolution: int, channels: int, layout: Layout, *, hidden_size: int, **keys: Any) -> None:
        super().__init__(resolution, channels, 0, hidden_size=hidden_size, **keys)
        del self.y_embedder  # there are no classes
        self.layout = layout
        self.y_proj = Mlp(layout.width, hidden_size, hidden_size)
        self.y_none = nn.Parameter(hidden_size**-0.5 * torch.randn(1, 1, hidden_size))
        self.y_pooled = nn.Linear(layout.pooled, hidden_size, bias=False) if layout.pooled else None

    def given(self, t: Tensor, labels: Tensor | None, span: Tensor | None = None) -> tuple[Tensor, ...]:
        """c [N,width] of time and pooled vector; words [N,1+S,width], "none" first; which of them are there."""
        c = self.t_embedder(t)
        if self.r_embedder is not None:
            c = c + self.r_embedder(torch.zeros_like(t) if span is None else span)
        none = self.y_none.expand(t.shape[0], -1, -1)
        labels = none.new_zeros(t.shape[0], self.layout.size) if labels is None else labels.to(none.dtype)
        asked = self.layout.unpack(labels)
        assert asked.tokens is not None and asked.mask is not None
        if self.y_pooled is not None:
            c = c + self.y_pooled(asked.pooled)
        mask = torch.cat([1 - asked.mask.amax(1, keepdim=True), asked.mask], dim=1)
        words = torch.cat([none, self.y_proj(asked.tokens).to(none.dtype)], dim=1)
        return c, words, mask > 0
