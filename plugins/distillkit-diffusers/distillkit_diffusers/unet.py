"""diffusers' UNet2DModel, with its names of weights: an encoder stacks what its decoder pops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distillkit.api import frozen
from distillkit_diffusers.layers import Attention, Double, Embedding, Halve, Resnet, Style, time_features

DOWN = {"DownBlock2D": "plain", "AttnDownBlock2D": "attention", "ResnetDownsampleBlock2D": "resnet"}
UP = {"UpBlock2D": "plain", "AttnUpBlock2D": "attention", "ResnetUpsampleBlock2D": "resnet"}


@frozen(kw_only=True)
class Plan:
    """The numbers of a network, beside its style."""

    inputs: int  # channels
    outputs: int
    widths: Sequence[int]  # of each level
    layers: int  # residual blocks of each level
    down: Sequence[str]  # names in DOWN, finest first
    up: Sequence[str]  # names in UP, coarsest first
    mid: bool
    mid_attention: bool
    mid_groups: int | None  # of the norm before the middle's attention; None: as the layers', where there is one
    mid_scale: float  # divides what blocks of the middle give
    cosine_first: bool
    shift: float  # of frequencies
    centred: bool  # images are doubled and moved by -1
    classes: int  # rows of the table of class embeddings; 0: there is none
    none_class: bool  # whether the last of them is for images of no class
    class_embed: str | None  # None: such a table; "timestep": features of a number; "identity": labels are embeddings


class Level(nn.Module):
    """Residual blocks of one resolution, each with its attention or without, and what leads to the next level."""

    def __init__(self, shapes: Sequence[tuple[int, int]], style: Style, attention: bool) -> None:
        super().__init__()
        if attention:
            self.attentions = nn.ModuleList(Attention(outputs, style, style.groups) for _, outputs in shapes)
        self.resnets = nn.ModuleList(Resnet(inputs, outputs, style) for inputs, outputs in shapes)

    def lead(self, name: str, module: nn.Module) -> None:
        """Add what leads to the next level, under diffusers' name."""
        self.add_module(name, nn.ModuleList([module]))

    def layers(self) -> Iterator[list[nn.Module]]:
        """The modules of each layer, in order."""
        attentions = getattr(self, "attentions", None)
        for i, resnet in enumerate(self.resnets):
            yield [resnet] if attentions is None else [resnet, attentions[i]]

    def onward(self) -> list[nn.Module]:
        """What leads to the next level: one module, or none."""
        return [m for name in ("downsamplers", "upsamplers") if hasattr(self, name) for m in getattr(self, name)]


def down_level(kind: str, inputs: int, outputs: int, layers: int, style: Style, last: bool) -> Level:
    """A level of the encoder."""
    level = Level([(outputs if i else inputs, outputs) for i in range(layers)], style, kind == "attention")
    if not last:
        by_resnet = kind == "resnet" or (kind == "attention" and style.down == "resnet")
        level.lead("downsamplers", Resnet(outputs, outputs, style, "down") if by_resnet else Halve(outputs, style))
    return level


def up_level(kind: str, before: int, outputs: int, skips: Sequence[int], style: Style, last: bool) -> Level:
    """A level of the decoder; `skips` are channels of what its layers pop, in order."""
    shapes = [((outputs if i else before) + skip, outputs) for i, skip in enumerate(skips)]
    level = Level(shapes, style, kind == "attention")
    if not last:
        by_resnet = kind == "resnet" or (kind == "attention" and style.up == "resnet")
        level.lead("upsamplers", Resnet(outputs, outputs, style, "up") if by_resnet else Double(outputs))
    return level


def levels(found: nn.ModuleList) -> list[Level]:
    """The levels in a list of modules."""
    return [level for level in found if isinstance(level, Level)]


class Middle(nn.Module):
    """Two residual blocks, and attention between them."""

    def __init__(self, width: int, plan: Plan, style: Style) -> None:
        super().__init__()
        groups = plan.mid_groups
        if groups is None and not style.scale_shift:
            groups = style.groups
        attention = [Attention(width, style, groups, plan.mid_scale)] if plan.mid_attention else []
        self.attentions = nn.ModuleList(attention)
        self.resnets = nn.ModuleList(Resnet(width, width, style, scale=plan.mid_scale) for _ in range(2))

    def layers(self) -> list[nn.Module]:
        """Its modules in order."""
        return [self.resnets[0], *self.attentions, self.resnets[1]]


class UNet(nn.Module):
    """x [N,C,H,W], times t [N] as its authors feed them, labels [N,L] or None -> [N,C',H,W]."""

    def __init__(self, plan: Plan, style: Style) -> None:
        super().__init__()
        self.plan, self.style = plan, style
        widths = list(plan.widths)
        self.conv_in = nn.Conv2d(plan.inputs, widths[0], 3, padding=1)
        self.time_embedding = Embedding(widths[0], style.emb)
        self.class_embedding: Embedding | nn.Embedding | None = None
        if plan.class_embed == "timestep":
            self.class_embedding = Embedding(widths[0], style.emb)
        elif plan.classes:
            self.class_embedding = nn.Embedding(plan.classes, style.emb)
        self.down_blocks, skips, width = nn.ModuleList(), [widths[0]], widths[0]
        for i, (name, out) in enumerate(zip(plan.down, widths, strict=True)):
            last = i == len(widths) - 1
            self.down_blocks.append(down_level(DOWN[name], width, out, plan.layers, style, last))
            skips += [out] * (plan.layers + (not last))
            width = out
        self.mid_block = Middle(width, plan, style) if plan.mid else None
        self.up_blocks = nn.ModuleList()
        for i, (name, out) in enumerate(zip(plan.up, reversed(widths), strict=True)):
            popped = [skips.pop() for _ in range(plan.layers + 1)]
            self.up_blocks.append(up_level(UP[name], width, out, popped, style, i == len(widths) - 1))
            width = out
        self.conv_norm_out = nn.GroupNorm(style.groups, width, style.eps)
        self.conv_out = nn.Conv2d(width, plan.outputs, 3, padding=1)

    def embed(self, t: Tensor, labels: Tensor | None) -> Tensor:
        """[N,emb] of times and labels; a row of zeros has no class: the table's row for none, or nothing, is added."""
        plan, dtype = self.plan, self.conv_in.weight.dtype
        emb: Tensor = self.time_embedding(self.features(t).to(dtype))
        if isinstance(self.class_embedding, Embedding):
            numbers = torch.zeros_like(t) if labels is None else labels[:, 0]
            return emb + torch.as_tensor(self.class_embedding(self.features(numbers).to(dtype)))
        if labels is None and not plan.none_class:
            return emb
        labels = emb.new_zeros(emb.shape[0], plan.classes - 1) if labels is None else labels.to(dtype)
        if plan.none_class:
            labels = torch.cat([labels, 1 - labels.sum(1, keepdim=True)], dim=1)
        return emb + (labels if self.class_embedding is None else labels @ self.class_embedding.weight)

    def features(self, t: Tensor) -> Tensor:
        """[N,width] of times."""
        width = int(self.plan.widths[0])
        return time_features(t, width, cosine_first=self.plan.cosine_first, shift=self.plan.shift)

    def encode(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """What the decoder pops, and last what it begins with."""
        h = self.conv_in(2 * x - 1 if self.plan.centred else x)
        skips = [h]
        for level in levels(self.down_blocks):
            for layer in [*level.layers(), level.onward()]:
                for module in layer:
                    h = module(h, emb)
                if layer:
                    skips.append(h)
        for module in self.mid_block.layers() if self.mid_block is not None else []:
            h = module(h, emb)
        return [*skips, h]

    def decode(self, skips: list[Tensor], emb: Tensor) -> Tensor:
        """[N,C',H,W] of what `encode` gave."""
        *skips, h = skips
        for level in levels(self.up_blocks):
            for layer in level.layers():
                h = torch.cat([h, skips.pop()], dim=1)
                for module in layer:
                    h = module(h, emb)
            for module in level.onward():
                h = module(h, emb)
        return torch.as_tensor(self.conv_out(F.silu(self.conv_norm_out(h))))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        emb = self.embed(t, labels)
        return self.decode(self.encode(x, emb), emb)

    def blocks(self) -> list[nn.Module]:
        """Its parts, in the order in which they are called."""
        down, up = (
            [module for level in levels(found) for layer in [*level.layers(), level.onward()] for module in layer]
            for found in (self.down_blocks, self.up_blocks)
        )
        return [*down, *(self.mid_block.layers() if self.mid_block is not None else []), *up]
