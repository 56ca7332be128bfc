"""The constants that SiD and SiDA share, by their letters, with the published values as defaults."""

from __future__ import annotations

from distillkit.api import (
    Augment,
    Choice,
    Optimizer,
    and_,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    in_,
    le,
    lt,
    optional,
)


@frozen(kw_only=True)
class SharedConfig:
    # the generator's loss
    alpha: float = field(default=1.2, validator=ge(0))
    """weight of the correction in the generator's loss; 1.0: AFHQ-v2, and SiDA; theory asks for 0.5"""
    lsg: float = field(default=100.0, validator=gt(0))  # scale of the generator's loss
    w_min: float = field(default=1e-5, validator=gt(0))  # lower bound of the weight w of the generator's loss
    noise: str = field(default="grid", validator=in_(("grid", "lognormal")))
    """noise levels of the generator's loss: on the published grid, or lognormal"""
    tmax: float = field(default=800.0, validator=[gt(0), le(1000)])
    """noise "grid": sigma from 0.002 up to this step of 1000"""
    G_P_mean: float = -0.6  # noise "lognormal": mean of ln sigma in the generator's loss
    G_P_std: float = field(default=1.4, validator=gt(0))
    """noise "lognormal": standard deviation of ln sigma in the generator's loss"""
    nonfinite_images: str = field(default="refuse", validator=in_(("refuse", "drop")))
    """an image with a NaN: the update is skipped, or that image is left out, as in the authors' code"""
    rollout: str | None = field(default=None, validator=optional(in_(("last", "all"))))
    """several steps: x is what a random one of the sampler few-step's makes, differentiated through the last call, or
    all; unset: x is what the sampler ends with, through all"""
    # the fake score's loss
    ls: float = field(default=1.0, validator=gt(0))  # scale of the fake score's loss
    P_mean: float = -1.2  # mean of ln sigma in the fake score's loss
    P_std: float = field(default=1.2, validator=gt(0))  # standard deviation of ln sigma in the fake score's loss
    logvar: bool = False  # divide every loss by the fake score's expected error at sigma; EDM2 networks only
    augment: Choice[Augment] | None = None  # of the images that the fake score sees
    # the fake score's optimizer, Adam
    lr: float = field(default=1e-5, validator=gt(0))  # learning rate of the fake score; 4e-6: ImageNet; 5e-6: AFHQ-v2
    betas: tuple[float, float] = field(default=(0.0, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))
    """decay per update of the averages of the gradient and of its square"""
    eps: float = field(default=1e-8, validator=gt(0))
    """added to the root of the squared gradient; 1e-6 where networks run in half precision"""
    warmup_kimg: float = field(default=0.0, validator=ge(0))  # images in which lr rises linearly from 0
    schedule: str = field(default="constant", validator=in_(("constant", "cosine")))  # of lr after the warm-up
    decay_from: float = field(default=0.0, validator=ge(0))  # "cosine": share of the run after which lr falls
    final_lr: float = field(default=0.0, validator=ge(0))  # "cosine": lr at the end, as a share of lr

    @property
    def depends_on_kimg(self) -> bool:
        return self.optimizer().depends_on_kimg

    def optimizer(self, clip_value: float | None = None) -> Optimizer:
        """The fake score's optimizer."""
        return Optimizer.of(self, clip_value=clip_value)
