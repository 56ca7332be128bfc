"""The network component `edm2`."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from distillkit.api import Network, UsageError, added_later, and_, field, frozen, ge, gt, in_, le, lt, min_len, optional
from distillkit_edm.edm2.blocks import BlockStyle
from distillkit_edm.edm2.precond import Edm2Precond
from distillkit_edm.edm2.unet import Edm2UNet

SHARE: Callable[[Any, Any, float], None] = and_(ge(0), le(1))


class Edm2(Network):
    """EDM2: magnitude-preserving U-Net of pixels or latents; the defaults are size xs (arXiv:2312.02696)."""

    tiny = {
        "model_channels": 8, "channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (4,), "channels_per_head": 8,
    }  # fmt: skip

    @frozen(kw_only=True)
    class Config:
        model_channels: int = field(default=128, validator=ge(1))  # width of a level with channel_mult 1
        channel_mult: tuple[int, ...] = field(default=(1, 2, 3, 4), validator=min_len(1))
        """width of each resolution level, as a multiple of model_channels"""
        num_blocks: int = field(default=3, validator=ge(1))  # residual blocks per level
        attn_resolutions: tuple[int, ...] = (16, 8)  # levels with self-attention; the last has one block of it anyway
        channels_per_head: int = field(default=64, validator=ge(1))  # of each head of self-attention
        label_balance: float = field(default=0.5, validator=SHARE)  # share of the labels in the embedding
        concat_balance: float = field(default=0.5, validator=SHARE)  # share of the skip connections
        res_balance: float = field(default=0.3, validator=SHARE)  # share of a block's residual branch
        attn_balance: float = field(default=0.3, validator=SHARE)  # share of self-attention
        dropout: float = field(default=0.0, validator=[ge(0), lt(1)])
        """probability that an activation is dropped in training"""
        dropout_resolution: int | None = field(default=None, validator=optional(ge(1)))
        """no dropout at resolutions above this one"""
        clip_act: float = field(default=256.0, validator=gt(0))  # largest activation
        logvar_channels: int = field(default=128, validator=ge(0))
        """features of sigma behind the estimate of the error; 0: no estimate"""
        preconditioning: str = field(default="edm", validator=in_(("edm", "consistency", "ect")))
        """form of the denoiser; "ect": EDM's in training, the consistency form in evaluation"""
        boundary: float = field(default=0.002, validator=ge(0))  # sigma where the consistency form is the identity
        sigma_min: float = field(default=0.0, validator=ge(0))  # lowest noise level that the network supports
        sigma_max: float = field(default=inf, validator=gt(0))  # highest noise level that the network supports
        sigma_data: float = field(default=0.5, validator=gt(0))  # standard deviation of the images
        second_time: bool = field(default=False, metadata=added_later(as_before=False))
        """an input for the noise level to jump to, beside that of the image: for flow maps"""
        guidance: bool = field(default=False, metadata=added_later(as_before=False))
        """an input for the scale of guidance, the last entry of labels"""

    def module(self, resolution: int, channels: int, label_dim: int) -> Edm2Precond:
        """Raises UsageError when the config and the image shape do not fit."""
        c = self.config
        widths = [c.model_channels * mult for mult in c.channel_mult]
        self._check(resolution, widths)
        style = BlockStyle(
            max(widths), c.dropout, c.dropout_resolution or resolution, c.res_balance, c.attn_balance,
            c.channels_per_head, c.clip_act,
        )  # fmt: skip
        unet = Edm2UNet(
            resolution, channels, max(label_dim - c.guidance, 0), widths, c.num_blocks, c.attn_resolutions,
            c.label_balance, c.concat_balance, style,
        )  # fmt: skip
        return Edm2Precond(
            unet, resolution, channels, label_dim, c.logvar_channels,
            sigma_min=c.sigma_min, sigma_max=c.sigma_max, sigma_data=c.sigma_data,
            boundary=0.0 if c.preconditioning == "edm" else c.boundary,
            boundary_in_training=c.preconditioning != "ect", second_time=c.second_time, guidance=c.guidance,
        )  # fmt: skip

    def _check(self, resolution: int, widths: list[int]) -> None:
        c, levels = self.config, len(widths)
        if resolution % 2 ** (levels - 1):
            raise UsageError(
                f"channel_mult has {levels} levels, so the resolution must be a multiple of {2 ** (levels - 1)}, "
                f"but the images have {resolution}"
            )
        if min(widths) < 1:
            raise UsageError(f"channel_mult {list(c.channel_mult)} has a level without channels: use numbers >= 1")
        for level, width in enumerate(widths):
            attn = level == levels - 1 or resolution >> level in c.attn_resolutions
            if attn and width % c.channels_per_head:
                raise UsageError(
                    f"self-attention at {resolution >> level}x{resolution >> level} has {width} channels, no multiple "
                    f"of channels_per_head = {c.channels_per_head}: change that or model_channels"
                )
