"""The constants of SiD and SiDA by their letters, with the published values as defaults."""

from __future__ import annotations

from typing import Any

from distillkit.api import (
    INFINITE,
    Augment,
    Choice,
    Optimizer,
    added_later,
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
from distillkit_sid.sim import of_sim


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
    def drops(self) -> bool:
        """Whether images with a NaN are left out."""
        return self.nonfinite_images == "drop"

    @property
    def depends_on_kimg(self) -> bool:
        return self.optimizer().depends_on_kimg

    def optimizer(self, clip_value: float | None = None) -> Optimizer:
        """The fake score's optimizer."""
        return Optimizer.of(self, clip_value=clip_value)


def no_augment(instance: Any, attribute: Any, value: bool) -> None:
    if value and instance.augment is not None:
        raise ValueError("'shared_forward' needs un-augmented images: take out [generator_loss.augment]")


@frozen(kw_only=True)
class SidConfig(SharedConfig):
    # One turn in which (a) reuses the x, sigma and D_fake of (b): 9 forward passes' worth of work instead of 11.
    # The fake score is then in training mode in (b) as well (dropout), and sees no fresh images of its own.
    shared_forward: bool = field(default=False, validator=no_augment)
    """one turn for both losses, on the same images: 9 passes of work instead of 11, and other dropout"""

    kappa_critic: float = field(default=1.0, validator=ge(0), metadata=added_later(as_before=1.0))
    """guidance of the fake score while it trains (LSG's kappa_1); 1: none; above 1 a pass more"""
    kappa_generator: float = field(default=1.0, validator=ge(0), metadata=added_later(as_before=1.0))
    """guidance of the fake score in the generator's loss (LSG's kappa_2); 1: none; above 1 a pass more"""
    distance: str | None = field(default=None, validator=[optional(in_(("l2", "huber"))), of_sim])
    """of the two scores, with alpha = 1: SIM's loss, which publishes "huber"; unset: SiD's own"""
    c: float = field(default=0.00054, validator=gt(0), metadata=added_later(as_before=0.00054))
    """distance "huber": gaps below c, per root of an image's values, count as in "l2", larger ones all alike"""


@frozen(kw_only=True)
class SidaConfig(SharedConfig):
    alpha: float = field(default=1.0, validator=ge(0))
    """weight of the correction in the generator's loss; the paper tried 1.2 as well"""
    lsd: float = field(default=1.0, validator=ge(0))  # scale of the discriminator's loss; 100: EDM2
    lsg_gan: float = field(default=0.01, validator=ge(0))  # scale of the generator's adversarial loss
    clip_value: float = field(default=1.0, validator=gt(0), metadata=INFINITE)
    """largest value of each entry of the fake score's gradients; inf: any"""
    generator_after_kimg: float = field(default=100.0, validator=ge(0))
    """images after which the generator trains; 0: at once"""
    gan_after_kimg: float = field(default=200.0, validator=ge(0))
    """images after which the generator's loss has its adversarial half"""
    force_normalization: bool = True  # EDM2: training sets the generator's weights to a norm of 1; false: size s
    fake_force_normalization: bool = field(default=False, metadata=added_later(as_before=True))
    """EDM2: the fake score's too, as `sid` does; published: never"""
    shared_forward: bool = field(default=False, validator=no_augment, metadata=added_later(as_before=False))
    """one turn for all losses, on the same images: 9 passes of work and 3 of the encoder instead of 11 and 3"""
