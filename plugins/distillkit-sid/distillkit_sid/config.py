"""The constants that SiD and SiDA share, by their letters, with the published values as defaults."""

from __future__ import annotations

from distillkit.api import Augment, Choice, Optimizer, field, frozen, ge, gt, in_, le


@frozen(kw_only=True)
class SharedConfig:
    # the generator's loss
    alpha: float = field(default=1.2, validator=ge(0))  # 1.0: AFHQ-v2, and SiDA; theory asks for 0.5
    lsg: float = field(default=100.0, validator=gt(0))  # scale of the generator's loss
    w_min: float = field(default=1e-5, validator=gt(0))  # lower bound of its weight w
    noise: str = field(default="grid", validator=in_(("grid", "lognormal")))  # the generator's sigma; grid: published
    tmax: float = field(default=800.0, validator=[gt(0), le(1000)])  # grid: sigma from 0.002 up to here, of 1000
    G_P_mean: float = -0.6  # lognormal: mean of ln sigma
    G_P_std: float = field(default=1.4, validator=gt(0))  # lognormal: its standard deviation
    nonfinite_images: str = field(default="refuse", validator=in_(("refuse", "drop")))  # drop: the reference's rule
    # the fake score's loss
    ls: float = field(default=1.0, validator=gt(0))  # scale of the fake score's loss
    P_mean: float = -1.2  # mean of its ln sigma
    P_std: float = field(default=1.2, validator=gt(0))  # standard deviation of its ln sigma
    logvar: bool = False  # divide every loss by the fake score's expected error at sigma; EDM2 networks only
    augment: Choice[Augment] | None = None  # of the images that the fake score sees
    # the fake score's optimizer, Adam
    lr: float = field(default=1e-5, validator=gt(0))  # 4e-6: ImageNet; 5e-6: AFHQ-v2
    betas: tuple[float, float] = (0.0, 0.999)  # checked by Optimizer
    eps: float = field(default=1e-8, validator=gt(0))  # 1e-6 where networks run in half precision
    warmup_kimg: float = field(default=0.0, validator=ge(0))  # linear from 0
    schedule: str = field(default="constant", validator=in_(("constant", "cosine")))
    decay_from: float = field(default=0.0, validator=ge(0))  # fraction of the run where the cosine starts
    final_lr: float = field(default=0.0, validator=ge(0))  # fraction of lr at its end

    def optimizer(self, clip_value: float | None = None) -> Optimizer:
        """The fake score's optimizer."""
        return Optimizer(
            lr=self.lr, betas=self.betas, eps=self.eps, warmup_kimg=self.warmup_kimg, schedule=self.schedule,
            decay_from=self.decay_from, final_lr=self.final_lr, clip_value=clip_value,
        )  # fmt: skip
