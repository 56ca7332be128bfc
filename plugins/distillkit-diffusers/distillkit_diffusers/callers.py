"""How each of diffusers' models is called: what of a condition it takes, and what it says of x_t."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from distillkit.api import Condition, Layout, UsageError


@frozen(kw_only=True)
class Hints:
    """What a call needs beyond images and their conditions."""

    pixels: int = 1  # a side of one of the model's
    mask: bool = False  # whether words are masked where the pipeline does not
    guidance: float = 3.5  # the scale that a model with such an input is told


class Caller:
    """A model of one class, its config, and how it is asked."""

    scale_of_time = True  # whether it is told a flow's t times the number of steps

    def __init__(self, config: Mapping[str, Any], hints: Hints) -> None:
        self.config, self.hints = config, hints

    def resolution(self, data: int) -> int:
        """H = W that the model was made for; `data`, that of the data set, where it takes any."""
        size = self.config.get("sample_size")
        size = size[0] if isinstance(size, list) and len(set(size)) == 1 else size
        return size if type(size) is int else data

    @property
    def channels(self) -> int:
        return int(self.config["in_channels"])

    def prepare(self, model: nn.Module, layout: Layout) -> None:
        """Change what a model needs changed. Raises UsageError for labels of another kind than it takes."""
        for name, want in self.takes(layout).items():
            if (got := getattr(layout, name)) != want:
                kind = {"classes": "classes", "width": "as width of a token", "pooled": "pooled numbers"}[name]
                raise UsageError(f"teacher_score: the model takes {want} {kind}; the data set's labels have {got}")

    def takes(self, layout: Layout) -> dict[str, int]:
        """Sizes of labels' parts that the model takes."""
        raise NotImplementedError

    @abstractmethod
    def __call__(self, model: nn.Module, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """What the model says of x_t [N,C,H,W] at its time t [N]."""


def class_index(classes: Tensor) -> Tensor:
    """int64 [N] of one-hot rows [N,K]; of a row of zeros K, the class "none"."""
    return torch.where(classes.sum(1) > 0.5, classes.argmax(1), classes.shape[1])


class UNet2D(Caller):
    """UNet2DModel, with classes or without."""

    def takes(self, layout: Layout) -> dict[str, int]:
        if self.config.get("class_embed_type"):
            raise UsageError(f"teacher_score: class_embed_type {self.config['class_embed_type']!r} is not called here")
        known = self.config.get("num_class_embeds") or 0
        # A further row may be the class "none", as scripts of guidance have it.
        return {"classes": known - 1 if known and layout.classes == known - 1 else known, "width": 0, "pooled": 0}

    def prepare(self, model: nn.Module, layout: Layout) -> None:
        super().prepare(model, layout)
        if layout.classes and layout.classes == self.config["num_class_embeds"]:
            table: Any = model.class_embedding  # without a class "none": that adds nothing
            weight = torch.cat([table.weight.data, torch.zeros_like(table.weight.data[:1])])
            model.class_embedding = nn.Embedding.from_pretrained(weight)

    def __call__(self, model: nn.Module, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        classes = None if condition.classes is None else class_index(condition.classes)
        return torch.as_tensor(model(x, t, class_labels=classes, return_dict=False)[0])


class DiT(Caller):
    """DiTTransformer2DModel: classes, and a class "none" after them."""

    def takes(self, layout: Layout) -> dict[str, int]:
        return {"classes": self.config["num_embeds_ada_norm"], "width": 0, "pooled": 0}

    def __call__(self, model: nn.Module, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        assert condition.classes is not None, "its layout has classes"
        return torch.as_tensor(model(x, t, class_labels=class_index(condition.classes), return_dict=False)[0])


class UNet2DCondition(Caller):
    """UNet2DConditionModel: words, and for SDXL pooled words and the images' size."""

    @property
    def sized(self) -> bool:
        return self.config.get("addition_embed_type") == "text_time"

    def takes(self, layout: Layout) -> dict[str, int]:
        other = self.config.get("addition_embed_type")
        if (other and not self.sized) or self.config.get("class_embed_type") or self.config.get("num_class_embeds"):
            raise UsageError("teacher_score: a UNet2DConditionModel is called with words alone, or as SDXL is")
        width = self.config.get("encoder_hid_dim") or self.config["cross_attention_dim"]
        if type(width) is not int:
            raise UsageError("teacher_score: its words have more than one width")
        pooled = 0
        if self.sized:
            pooled = self.config["projection_class_embeddings_input_dim"] - 6 * self.config["addition_time_embed_dim"]
        return {"classes": 0, "width": width, "pooled": pooled}

    def __call__(self, model: nn.Module, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        added = None
        if self.sized:
            size = x.shape[-1] * self.hints.pixels
            ids = x.new_tensor([size, size, 0, 0, size, size]).expand(len(x), 6)  # as drawn, uncropped
            added = {"text_embeds": condition.pooled, "time_ids": ids}
        mask = condition.mask if self.hints.mask else None
        out = model(
            x, t, condition.tokens, added_cond_kwargs=added, encoder_attention_mask=mask, return_dict=False
        )[0]  # fmt: skip
        return torch.as_tensor(out)


class PixArt(Caller):
    """PixArtTransformer2DModel: words under their mask; the images' size where it was trained with that."""

    def takes(self, layout: Layout) -> dict[str, int]:
        return {"classes": 0, "width": self.config["caption_channels"], "pooled": 0}

    def __call__(self, model: nn.Module, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        sized = self.config.get("use_additional_conditions")
        if sized is None:
            sized = self.config.get("sample_size") == 128
        added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if sized:
            size = x.new_tensor([x.shape[-1] * self.hints.pixels] * 2).expand(len(x), 2)
            added = {"resolution": size, "aspect_ratio": x.new_ones(len(x), 1)}
        out = model(
            x, condition.tokens, t, added_cond_kwargs=added, encoder_attention_mask=condition.mask, return_dict=False
        )[0]  # fmt: skip
        return torch.as_tensor(out)


class SD3(Caller):
    """SD3Transformer2DModel: words and pooled words."""

    def takes(self, layout: Layout) -> dict[str, int]:
        joint, pooled = self.config["joint_attention_dim"], self.config["pooled_projection_dim"]
        return {"classes": 0, "width": joint, "pooled": pooled}

    def __call__(self, model: nn.Module, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return torch.as_tensor(model(x, condition.tokens, condition.pooled, t, return_dict=False)[0])


class Flux(SD3):
    """FluxTransformer2DModel: latents by 2 x 2, and a guidance scale as input where it was distilled with one."""

    scale_of_time = False

    @property
    def channels(self) -> int:
        return int(self.config["in_channels"]) // 4

    def resolution(self, data: int) -> int:
        if data % 2:
            raise UsageError(f"teacher_score: Flux takes images of an even size, not {data}")
        return data

    def __call__(self, model: nn.Module, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        assert condition.tokens is not None, "its layout has words"
        packed = F.pixel_unshuffle(x, 2)  # [N,4C,h,w]
        h, w = packed.shape[2:]
        place = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), dim=-1).reshape(-1, 2)
        ids = F.pad(place, (1, 0)).to(x)  # 0, row, column
        scale = x.new_full((len(x),), self.hints.guidance) if self.config.get("guidance_embeds") else None
        out = model(
            packed.flatten(2).transpose(1, 2), condition.tokens, condition.pooled, t, ids,
            x.new_zeros(condition.tokens.shape[1], 3), scale, return_dict=False,
        )[0]  # fmt: skip
        return F.pixel_shuffle(out.transpose(1, 2).unflatten(2, (h, w)), 2)


CALLERS: dict[str, type[Caller]] = {
    "UNet2DModel": UNet2D, "UNet2DConditionModel": UNet2DCondition, "DiTTransformer2DModel": DiT,
    "PixArtTransformer2DModel": PixArt, "SD3Transformer2DModel": SD3, "FluxTransformer2DModel": Flux,
}  # fmt: skip
