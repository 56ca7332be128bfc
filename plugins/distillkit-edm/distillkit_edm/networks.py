"""The network components: EDM's three architectures with their constructor's keys."""

from __future__ import annotations

from math import inf
from typing import Any

from distillkit.api import Network, UsageError, added_later, field, frozen, ge, gt, in_, lt, min_len
from distillkit_edm.dhariwal import DhariwalUNet
from distillkit_edm.precond import EdmPrecond, FlowPrecond
from distillkit_edm.songunet import SongUNet


@frozen(kw_only=True)
class EdmConfig:
    """Keys that all three share, named as in EDM."""

    model_channels: int = field(default=128, validator=ge(4))  # width of a level with channel_mult 1
    channel_mult: tuple[int, ...] = field(default=(1, 2, 2, 2), validator=min_len(1))
    """width of each resolution level, as a multiple of model_channels"""
    channel_mult_emb: int = field(default=4, validator=ge(1))  # width of the embedding / model_channels
    num_blocks: int = field(default=4, validator=ge(1))  # residual blocks per level
    attn_resolutions: tuple[int, ...] = (16,)  # levels with self-attention
    dropout: float = field(default=0.10, validator=[ge(0), lt(1)])
    """probability that an activation is dropped in training"""
    label_dropout: float = field(default=0.0, validator=[ge(0), lt(1)])  # probability that training sees no label
    augment_dim: int = field(default=0, validator=ge(0))  # augmentation labels; 9 in most released networks
    preconditioning: str = field(default="edm", validator=in_(("edm", "consistency", "ect", "flow")))
    """form of the denoiser; "ect": EDM's in training, the consistency form in evaluation; "flow": what is inside is a
    velocity on the straight path, as in networks of flow matching"""
    boundary: float = field(default=0.002, validator=ge(0))  # sigma where the consistency form is the identity
    sigma_min: float = field(default=0.0, validator=ge(0))  # lowest noise level that the network supports
    sigma_max: float = field(default=inf, validator=gt(0))  # highest noise level that the network supports
    sigma_data: float = field(default=0.5, validator=gt(0))  # standard deviation of the images
    second_time: bool = field(default=False, metadata=added_later(as_before=False))
    """an input for the noise level to jump to, beside that of the image: for flow maps"""
    guidance: bool = field(default=False, metadata=added_later(as_before=False))
    """an input for the scale of guidance, the last entry of labels"""

    def check(self, resolution: int) -> None:
        """Raises UsageError where the numbers do not fit together."""
        levels = len(self.channel_mult)
        if resolution % 2 ** (levels - 1):
            raise UsageError(
                f"channel_mult has {levels} levels, so the resolution must be a multiple of {2 ** (levels - 1)}, "
                f"but the images have {resolution}"
            )
        for mult in self.channel_mult:
            width = self.model_channels * mult
            if width <= 0 or self.model_channels % 4 or width % min(32, width // 4):
                raise UsageError(
                    f"model_channels {self.model_channels} with channel_mult {mult} is no width group norm can split: "
                    "use a multiple of 4, or of 32 where the product is above 128"
                )

    def architecture(self) -> dict[str, Any]:
        """What the inner networks take."""
        names = ("model_channels", "channel_mult", "channel_mult_emb", "num_blocks", "attn_resolutions", "dropout",
                 "label_dropout", "augment_dim")  # fmt: skip
        return {name: getattr(self, name) for name in names}


class EdmNetwork(Network):
    """A raw network within EDM's preconditioning, or its consistency form."""

    tiny = {"model_channels": 8, "channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (4,)}

    def raw(self, resolution: int, channels: int, label_dim: int) -> SongUNet | DhariwalUNet:
        raise NotImplementedError

    def module(self, resolution: int, channels: int, label_dim: int) -> EdmPrecond:
        """Raises UsageError when the config and the image shape do not fit."""
        c = self.config
        c.check(resolution)
        form = FlowPrecond if c.preconditioning == "flow" else EdmPrecond
        return form(
            self.raw(resolution, channels, max(label_dim - c.guidance, 0)), resolution, channels, label_dim,
            c.augment_dim, second_time=c.second_time, guidance=c.guidance,
            sigma_min=c.sigma_min, sigma_max=c.sigma_max, sigma_data=c.sigma_data,
            boundary=0.0 if c.preconditioning in ("edm", "flow") else c.boundary,
            boundary_in_training=c.preconditioning != "ect",
        )  # fmt: skip


class DdpmPP(EdmNetwork):
    """DDPM++ in EDM's arrangement: the "vp" checkpoints (arXiv:2206.00364)."""

    @frozen(kw_only=True)
    class Config(EdmConfig):
        pass

    def raw(self, resolution: int, channels: int, label_dim: int) -> SongUNet:
        return SongUNet(resolution, channels, label_dim, ncsnpp=False, **self.config.architecture())


class NcsnPP(EdmNetwork):
    """NCSN++ in EDM's arrangement: the "ve" checkpoints (arXiv:2206.00364)."""

    @frozen(kw_only=True)
    class Config(EdmConfig):
        pass

    def raw(self, resolution: int, channels: int, label_dim: int) -> SongUNet:
        return SongUNet(resolution, channels, label_dim, ncsnpp=True, **self.config.architecture())


class Adm(EdmNetwork):
    """ADM in EDM's arrangement: the ImageNet-64 checkpoint (arXiv:2105.05233, arXiv:2206.00364)."""

    tiny = {**EdmNetwork.tiny, "channels_per_head": 8}

    @frozen(kw_only=True)
    class Config(EdmConfig):
        model_channels: int = field(default=192, validator=ge(4))  # width of a level with channel_mult 1
        channel_mult: tuple[int, ...] = field(default=(1, 2, 3, 4), validator=min_len(1))
        """width of each resolution level, as a multiple of model_channels"""
        num_blocks: int = field(default=3, validator=ge(1))  # residual blocks per level
        attn_resolutions: tuple[int, ...] = (32, 16, 8)  # levels with self-attention
        channels_per_head: int = field(default=64, validator=ge(1))  # of each head of self-attention

    def raw(self, resolution: int, channels: int, label_dim: int) -> DhariwalUNet:
        heads = self.config.channels_per_head
        return DhariwalUNet(resolution, channels, label_dim, channels_per_head=heads, **self.config.architecture())
