"""The network component: a U-Net by the keys of diffusers' UNet2DModel and of its scheduler."""

from __future__ import annotations

from distillkit.api import Network, UsageError, deep_iterable, field, frozen, ge, gt, in_, lt, min_len
from distillkit_diffusers.denoiser import UNetDenoiser
from distillkit_diffusers.layers import ACTIVATIONS, Style
from distillkit_diffusers.schedules import PREDICTIONS, NoiseConfig
from distillkit_diffusers.unet import DOWN, UP, Plan, UNet


class Unet2d(Network):
    """U-Net of diffusers, UNet2DModel, with the noise levels of its scheduler (arXiv:2006.11239)."""

    tiny = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}  # fmt: skip

    @frozen(kw_only=True)
    class Config(NoiseConfig):
        block_out_channels: tuple[int, ...] = field(default=(224, 448, 672, 896), validator=min_len(1))
        """width of each resolution level"""
        down_block_types: tuple[str, ...] = field(
            default=("DownBlock2D", *("AttnDownBlock2D",) * 3), validator=deep_iterable(in_(tuple(DOWN)))
        )
        """of each level, finest first: DownBlock2D, AttnDownBlock2D with attention, ResnetDownsampleBlock2D"""
        up_block_types: tuple[str, ...] = field(
            default=(*("AttnUpBlock2D",) * 3, "UpBlock2D"), validator=deep_iterable(in_(tuple(UP)))
        )
        """of each level, coarsest first: UpBlock2D, AttnUpBlock2D with attention, ResnetUpsampleBlock2D"""
        mid_block_type: str = field(default="UNetMidBlock2D", validator=in_(("UNetMidBlock2D", "")))
        """what is between encoder and decoder; "": nothing"""
        layers_per_block: int = field(default=2, validator=ge(1))  # residual blocks of a level of the encoder
        downsample_type: str = field(default="conv", validator=in_(("conv", "resnet")))
        """what halves a level with attention"""
        upsample_type: str = field(default="conv", validator=in_(("conv", "resnet")))
        """what doubles a level with attention"""
        downsample_padding: int = field(default=1, validator=in_((0, 1)))
        """pixels around images that a convolution halves; 0: one to the right and one below"""
        mid_block_scale_factor: float = field(default=1.0, validator=gt(0))  # divides what the middle's blocks give
        add_attention: bool = True  # in the middle
        attention_head_dim: int = field(default=8, validator=ge(0))  # channels of a head; 0: one head
        norm_num_groups: int = field(default=32, validator=ge(1))  # of group norms
        attn_norm_num_groups: int = field(default=0, validator=ge(0))  # of the middle's attention; 0: as elsewhere
        norm_eps: float = field(default=1e-5, validator=gt(0))  # of group norms
        act_fn: str = field(default="silu", validator=in_(tuple(ACTIVATIONS)))  # activation
        dropout: float = field(default=0.0, validator=[ge(0), lt(1)])
        """probability that an activation is dropped in training"""
        resnet_time_scale_shift: str = field(default="default", validator=in_(("default", "scale_shift")))
        """how time is told: "default" adds it, "scale_shift" scales as well"""
        time_embedding_dim: int = field(default=0, validator=ge(0))
        """width of what is known of time and class; 0: 4 times the first level"""
        flip_sin_to_cos: bool = True  # whether cosines of the time come first
        freq_shift: float = 0.0  # of the frequencies of the time: 1 in DDPM's own files
        center_input_sample: bool = False  # whether images come in [0,1]
        class_embed_type: str = field(default="", validator=in_(("", "timestep", "identity")))
        """how labels are told; "": by a row for each class"""
        none_class: bool = False  # whether a further class stands for no class
        learned_variances: bool = False  # further channels, not used here
        sigma_data: float = field(default=0.5, validator=gt(0))  # standard deviation of the images

    def module(self, resolution: int, channels: int, label_dim: int) -> UNetDenoiser:
        """Raises UsageError when the config and the image shape do not fit."""
        c = self.config
        emb = c.time_embedding_dim or 4 * c.block_out_channels[0]
        _check(c, resolution, label_dim, emb)
        style = Style(
            emb=emb, groups=c.norm_num_groups, eps=c.norm_eps, act=c.act_fn, dropout=c.dropout,
            scale_shift=c.resnet_time_scale_shift == "scale_shift", head_dim=c.attention_head_dim or None,
            padding=c.downsample_padding, down=c.downsample_type, up=c.upsample_type,
        )  # fmt: skip
        table = label_dim > 0 and not c.class_embed_type
        plan = Plan(
            inputs=channels, outputs=channels * (2 if c.learned_variances else 1), widths=c.block_out_channels,
            layers=c.layers_per_block, down=c.down_block_types, up=c.up_block_types, mid=bool(c.mid_block_type),
            mid_attention=c.add_attention, mid_groups=c.attn_norm_num_groups or None,
            mid_scale=c.mid_block_scale_factor,
            cosine_first=c.flip_sin_to_cos, shift=c.freq_shift, centred=c.center_input_sample,
            classes=label_dim + c.none_class if table else 0, none_class=table and c.none_class,
            class_embed=c.class_embed_type or None,
        )  # fmt: skip
        return UNetDenoiser(
            UNet(plan, style), resolution, channels, label_dim, c.schedule(), PREDICTIONS[c.prediction_type],
            c.time_scale, c.sigma_data,
        )  # fmt: skip


def _check(c: Unet2d.Config, resolution: int, label_dim: int, emb: int) -> None:
    """Raises UsageError where the numbers do not fit together."""
    levels = len(c.block_out_channels)
    for key in ("down_block_types", "up_block_types"):
        if len(getattr(c, key)) != levels:
            raise UsageError(f"{key} names {len(getattr(c, key))} levels, block_out_channels {levels}")
    if resolution % 2 ** (levels - 1):
        raise UsageError(
            f"{levels} levels need images whose pixels are a multiple of {2 ** (levels - 1)}: {resolution}"
        )
    for width in c.block_out_channels:
        if width < 1 or width % c.norm_num_groups:
            raise UsageError(f"block_out_channels: {width} is no multiple of norm_num_groups, {c.norm_num_groups}")
    for width in _attentive(c):
        if c.attention_head_dim > width:
            raise UsageError(f"attention_head_dim: no head of {c.attention_head_dim} channels fits into {width}")
    if c.attn_norm_num_groups and c.block_out_channels[-1] % c.attn_norm_num_groups:
        raise UsageError(f"attn_norm_num_groups {c.attn_norm_num_groups} does not divide {c.block_out_channels[-1]}")
    wanted = {"timestep": 1, "identity": emb}.get(c.class_embed_type, label_dim)
    if label_dim != wanted:
        raise UsageError(f"class_embed_type {c.class_embed_type!r} takes labels of width {wanted}, not {label_dim}")


def _attentive(c: Unet2d.Config) -> set[int]:
    """Widths of levels that have attention, and of the middle."""
    widths = c.block_out_channels
    down = {width for name, width in zip(c.down_block_types, widths, strict=True) if DOWN[name] == "attention"}
    up = {width for name, width in zip(c.up_block_types, reversed(widths), strict=True) if UP[name] == "attention"}
    return down | up | ({widths[-1]} if c.mid_block_type and c.add_attention else set())
