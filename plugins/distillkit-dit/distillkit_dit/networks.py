"""The network components: DiT, SiT and MeanFlow's transformer, by the names of their sizes or by their numbers."""

from __future__ import annotations

from typing import Any

from distillkit.api import Layout, Network, UsageError, added_later, field, frozen, ge, gt, in_, lt
from distillkit.convert import TABLES, Flow, FurtherInputs, Gvp, Schedule, Table, Vp
from distillkit_dit.denoiser import TransformerDenoiser
from distillkit_dit.text import TextTransformer
from distillkit_dit.transformer import FASTGEN, RELEASED, Names, Transformer

SIZES = tuple(f"{name}/{patch}" for name in Transformer.sizes for patch in (2, 4, 8))
PATHS: dict[str, type[Schedule]] = {"linear": Flow, "gvp": Gvp, "vp": Vp}


@frozen(kw_only=True)
class TransformerConfig:
    """Keys that all of them share."""

    size: str = field(default="", validator=in_(("", *SIZES)))
    """a published size and the pixels of its tokens, in place of the four keys below"""
    patch_size: int = field(default=2, validator=ge(1))  # pixels of a token's side
    hidden_size: int = field(default=384, validator=ge(4))  # width of a token
    depth: int = field(default=12, validator=ge(1))  # blocks
    num_heads: int = field(default=6, validator=ge(1))  # of attention
    mlp_ratio: float = field(default=4.0, validator=gt(0))  # width of a block's MLP / hidden_size
    label_dropout: float = field(default=0.0, validator=[ge(0), lt(1)])  # probability that training sees no label
    sigma_data: float = field(default=0.5, validator=gt(0))  # standard deviation of the images
    second_time: bool = field(default=False, metadata=added_later(as_before=False))
    """an input for the noise level to jump to, beside that of the image: for flow maps"""
    guidance: bool = field(default=False, metadata=added_later(as_before=False))
    """an input for the scale of guidance, the last entry of labels"""

    def architecture(self, resolution: int) -> dict[str, Any]:
        """What the transformer takes. Raises UsageError where the numbers do not fit together."""
        keys = {name: getattr(self, name) for name in ("patch_size", "hidden_size", "depth", "num_heads", "mlp_ratio")}
        if self.size:
            keys |= published(self.size)
        patch, width, heads = keys["patch_size"], keys["hidden_size"], keys["num_heads"]
        if resolution % patch:
            raise UsageError(f"patch_size {patch} does not divide the images' {resolution} pixels")
        if width % heads or width % 4:
            raise UsageError(f"hidden_size {width} must be a multiple of 4 and of num_heads, which is {heads}")
        return keys


def published(size: str) -> dict[str, int]:
    """The numbers of "XL/2" and its like."""
    name, _, patch = size.partition("/")
    depth, width, heads = Transformer.sizes[name]
    return {"patch_size": int(patch), "hidden_size": width, "depth": depth, "num_heads": heads}


class TransformerNetwork(Network):
    """A transformer of some prediction and schedule."""

    tiny = {"size": "", "patch_size": 2, "hidden_size": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
    names: Names = RELEASED
    reversed_time = False

    def schedule(self) -> Schedule:
        raise NotImplementedError

    def prediction(self) -> str:
        raise NotImplementedError

    def transformer(self, resolution: int, channels: int, label_dim: int, **keys: Any) -> Transformer:
        """The transformer itself. Raises UsageError for labels that it does not take."""
        return Transformer(resolution, channels, label_dim, **keys)

    def module(self, resolution: int, channels: int, label_dim: int) -> TransformerDenoiser:
        """Raises UsageError when the config and the image shape do not fit."""
        c = self.config
        own = self.names is FASTGEN  # MeanFlow's has one of its own
        further = FurtherInputs(
            c.architecture(resolution)["hidden_size"], label_dim, second_time=c.second_time and not own,
            guidance=c.guidance,
        )  # fmt: skip
        raw = self.transformer(
            resolution, channels, further.classes, outputs=channels * (2 if getattr(c, "learn_sigma", False) else 1),
            names=self.names, second_time=c.second_time and own, **c.architecture(resolution),
        )  # fmt: skip
        return TransformerDenoiser(
            raw, resolution, channels, label_dim, self.schedule(), self.prediction(), label_dropout=c.label_dropout,
            reversed_time=self.reversed_time, sigma_data=c.sigma_data, further=further, second_time=c.second_time,
        )  # fmt: skip


class Dit(TransformerNetwork):
    """DiT, which predicts the noise of a table's steps (arXiv:2212.09748)."""

    @frozen(kw_only=True)
    class Config(TransformerConfig):
        betas: str = field(default="linear", validator=in_(tuple(TABLES)))  # the table of noise levels
        interpolated: bool = False  # steps between whole ones, which training has not seen but which move smoothly
        learn_sigma: bool = True  # further channels for variances, as in the released files; not used here

    def schedule(self) -> Schedule:
        return Table(alphas_cumprod=TABLES[self.config.betas](), interpolated=self.config.interpolated)

    def prediction(self) -> str:
        return "eps"


class Sit(TransformerNetwork):
    """SiT: DiT's transformer with a continuous time from noise to data (arXiv:2401.08740)."""

    reversed_time = True

    @frozen(kw_only=True)
    class Config(TransformerConfig):
        path: str = field(default="linear", validator=in_(tuple(PATHS)))  # between data and noise
        prediction: str = field(default="velocity", validator=in_(("velocity", "eps", "score")))
        """what the network says of it; the released ones: velocity"""
        learn_sigma: bool = True  # further channels, as in the released files; not used here

    def schedule(self) -> Schedule:
        return PATHS[self.config.path]()

    def prediction(self) -> str:
        return str(self.config.prediction)


class FlowDit(TransformerNetwork):
    """A transformer of rectified flow, with MeanFlow's names of weights (arXiv:2209.03003, 2505.13447)."""

    names = FASTGEN

    @frozen(kw_only=True)
    class Config(TransformerConfig):
        second_time: bool = False  # an input for the time to jump by, t - r, beside t: for flow maps

    def schedule(self) -> Schedule:
        return Flow()

    def prediction(self) -> str:
        return "flow"


class TextDit(FlowDit):
    """A transformer of rectified flow that reads embedded words by cross-attention (arXiv:2310.00426)."""

    @frozen(kw_only=True)
    class Config(FlowDit.Config):
        tokens: int = field(validator=ge(1))  # the most words of a prompt, as the data set has them
        token_width: int = field(validator=ge(1))  # numbers of a word
        pooled: int = field(default=0, validator=ge(0))  # numbers of the vector for the whole prompt; 0: there is none

    def transformer(self, resolution: int, channels: int, label_dim: int, **keys: Any) -> Transformer:
        c = self.config
        layout = Layout(tokens=c.tokens, width=c.token_width, pooled=c.pooled)
        if layout.size != label_dim:
            raise UsageError(
                f"labels of {label_dim} numbers are given; {c.tokens} tokens of {c.token_width}, a mask of them and a "
                f"pooled vector of {c.pooled} are {layout.size}: tokens, token_width and pooled must be the data set's"
            )
        return TextTransformer(resolution, channels, layout, **keys)
