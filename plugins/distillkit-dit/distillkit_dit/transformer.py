"""The transformer of DiT and SiT (arXiv:2212.09748, 2401.08740), and MeanFlow's with two times (arXiv:2505.13447)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from distillkit.api import frozen
from distillkit_dit.layers import (
    Attention,
    LabelEmbed,
    Mlp,
    PatchEmbed,
    TimeEmbed,
    grid_embedding,
    linear,
    modulated,
    modulation,
)


@frozen(kw_only=True)
class Names:
    """What parts are called in a state dict."""

    time: str = "mlp"
    label: str = "embedding_table"
    attention: str = "attn"
    mlp: str = "mlp"
    modulation: str = "adaLN_modulation"
    last: str = "linear"
    last_modulation: str = "adaLN_modulation"


RELEASED = Names()  # of DiT and SiT
FASTGEN = Names(
    time="proj_net", label="class_embeddings", attention="attention", mlp="feed_forward", modulation="conditioning_net",
    last="projection", last_modulation="adaptive_params",
)  # fmt: skip


class Block(nn.Module):
    """Attention and an MLP, both modulated and gated by c [N,width]."""

    def __init__(self, width: int, heads: int, hidden: int, names: Names) -> None:
        super().__init__()
        self.parts = names.modulation, names.attention, names.mlp
        for name, module in zip(
            self.parts, (modulation(width, 6), Attention(width, heads), Mlp(width, hidden, width)), strict=True
        ):
            self.add_module(name, module)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        modulate, attention, mlp = (self.get_submodule(name) for name in self.parts)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulate(c).chunk(6, dim=1)
        x = x + gate[:, None] * attention(modulated(x, shift, scale))
        return torch.as_tensor(x + gate_mlp[:, None] * mlp(modulated(x, shift_mlp, scale_mlp)))


class Final(nn.Module):
    """Tokens [N,T,width] -> [N,T,p p C]; zero at first."""

    def __init__(self, width: int, outputs: int, names: Names) -> None:
        super().__init__()
        self.parts = names.last_modulation, names.last
        last = linear(width, outputs)
        nn.init.zeros_(last.weight)
        self.add_module(names.last_modulation, modulation(width, 2))
        self.add_module(names.last, last)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        modulate, last = (self.get_submodule(name) for name in self.parts)
        shift, scale = modulate(c).chunk(2, dim=1)
        return torch.as_tensor(last(modulated(x, shift, scale)))


class Transformer(nn.Module):
    """x [N,C,H,W], time t [N] as its authors feed it, labels [N,L] or None -> [N,C',H,W]."""

    pos_embed: Tensor
    block: ClassVar[type[Block]] = Block
    sizes: ClassVar[Mapping[str, tuple[int, int, int]]] = {  # depth, width, heads
        "S": (12, 384, 6), "B": (12, 768, 12), "L": (24, 1024, 16), "XL": (28, 1152, 16),
    }  # fmt: skip

    def __init__(
        self, resolution: int, channels: int, label_dim: int, *, patch_size: int, hidden_size: int, depth: int,
        num_heads: int, mlp_ratio: float, outputs: int, second_time: bool = False, names: Names = RELEASED,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch, self.outputs = patch_size, outputs
        self.x_embedder = PatchEmbed(channels, hidden_size, patch_size)
        self.t_embedder = TimeEmbed(hidden_size, names.time)
        self.r_embedder = TimeEmbed(hidden_size, names.time, silent=True) if second_time else None
        self.y_embedder = LabelEmbed(label_dim, hidden_size, names.label)
        self.register_buffer("pos_embed", grid_embedding(hidden_size, resolution // patch_size))
        hidden = int(hidden_size * mlp_ratio)
        self.blocks = nn.ModuleList(self.block(hidden_size, num_heads, hidden, names) for _ in range(depth))
        self.final_layer = Final(hidden_size, patch_size**2 * outputs, names)

    def embed(self, t: Tensor, labels: Tensor | None, span: Tensor | None = None) -> Tensor:
        """c [N,width] of times t [N], labels [N,L] and, where there is a second time r, the span t - r [N], or zero."""
        c = self.t_embedder(t) + self.y_embedder(labels)
        if self.r_embedder is not None:
            c = c + self.r_embedder(torch.zeros_like(t) if span is None else span)
        return torch.as_tensor(c)

    def given(self, t: Tensor, labels: Tensor | None, span: Tensor | None = None) -> tuple[Tensor, ...]:
        """What every block is given besides its tokens: c, and what subclasses' blocks take after it."""
        return (self.embed(t, labels, span),)

    def tokens(self, x: Tensor) -> Tensor:
        """[N,T,width] of x [N,C,H,W]."""
        return torch.as_tensor(self.x_embedder(x) + self.pos_embed)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None, span: Tensor | None = None) -> Tensor:
        h, given = self.tokens(x), self.given(t, labels, span)
        for block in self.blocks:
            h = block(h, *given)
        return self.image(h, given[0])

    def image(self, h: Tensor, c: Tensor) -> Tensor:
        """[N,C',H,W] of the last block's tokens."""
        out = self.final_layer(h, c)
        side = round(out.shape[1] ** 0.5)
        out = out.reshape(out.shape[0], side, side, self.patch, self.patch, self.outputs)  # N h w p q c
        return torch.as_tensor(out.permute(0, 5, 1, 3, 2, 4).reshape(out.shape[0], self.outputs, side * self.patch, -1))
