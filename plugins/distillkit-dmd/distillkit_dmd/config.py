"""The constants that DMD and DMD2 share, by their letters, with the published values as defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distillkit.api import (
    INFINITE,
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

T = 1000  # noise levels
POSITIVE: Callable[[Any, Any, Any], None] = optional(gt(0))


def ordered(instance: Any, attribute: Any, value: float) -> None:
    if value <= instance.T_min:
        raise ValueError(f"'T_max' must be above T_min = {instance.T_min}: {value}")


@frozen(kw_only=True)
class OptimizerConfig:
    """Of the networks that train beside the generator: AdamW."""

    lr: float = field(default=5e-5, validator=gt(0))  # learning rate of the critic
    betas: tuple[float, float] = field(default=(0.9, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))
    """decay per update of the averages of the gradient and of its square"""
    eps: float = field(default=1e-8, validator=gt(0))  # added to the root of the squared gradient
    weight_decay: float = field(default=0.01, validator=ge(0))  # pull of the weights towards 0
    clip_norm: float | None = field(default=10.0, validator=POSITIVE, metadata=INFINITE)
    """largest norm of all gradients together; inf: any"""
    warmup_kimg: float = field(default=0.0, validator=ge(0))  # images in which lr rises linearly from 0
    schedule: str = field(default="constant", validator=in_(("constant", "cosine")))  # of lr after the warm-up
    decay_from: float = field(default=0.0, validator=ge(0))  # "cosine": share of the run after which lr falls
    final_lr: float = field(default=0.0, validator=ge(0))  # "cosine": lr at the end, as a share of lr

    @property
    def depends_on_kimg(self) -> bool:
        return self.optimizer().depends_on_kimg

    def optimizer(self, lr: float | None = None) -> Optimizer:
        """AdamW with these keys; `lr` in place of theirs."""
        return Optimizer.of(self, name="adamw", lr=self.lr if lr is None else lr)


@frozen(kw_only=True)
class NoiseConfig(OptimizerConfig):
    # distribution matching, Eq. (7)
    noise: str = field(default="grid", validator=in_(("grid", "lognormal")))
    """noise levels of the matching loss: on the published grid, or lognormal"""
    T_min: float = field(default=0.02, validator=[ge(0), le(1)])  # noise "grid": share of the time steps where t starts
    T_max: float = field(default=0.98, validator=[gt(0), le(1), ordered])
    """noise "grid": share of the time steps where t ends"""
    G_P_mean: float = -0.6  # noise "lognormal": mean of ln sigma in the generator's loss
    G_P_std: float = field(default=1.4, validator=gt(0))
    """noise "lognormal": standard deviation of ln sigma in the generator's loss"""


@frozen(kw_only=True)
class SharedConfig(NoiseConfig):
    # the fake score, Eq. (6)
    fake_weight: str = field(default="edm", validator=in_(("edm", "none", "eps")))
    """weight of the denoising loss; "none": FastGen's; "eps": 1 / sigma^2, an error of the noise, as for SDXL"""


def _one_range(instance: Any, attribute: Any, value: str | None) -> None:
    if value and instance.diffusion_gan_max_timestep != T:
        raise ValueError(
            "'critic_noise' draws the GAN's t like those of the matching loss: no 'diffusion_gan_max_timestep' then"
        )


def _needs_gan(instance: Any, attribute: Any, value: float | None) -> None:
    if value is not None and not instance.gan:
        raise ValueError("'classifier_lr' is of a classifier, and gan = false has none")


def _same_noise(instance: Any, attribute: Any, value: bool) -> None:
    if value and not (instance.gan and instance.critic_noise and instance.features == "fake_score"):
        raise ValueError(
            "'shared_pass' takes the classifier's features from the fake score's own pass: it needs gan = true,"
            ' features = "fake_score", and one noise for both, critic_noise = "matching"'
        )


@frozen(kw_only=True)
class Dmd2Config(SharedConfig):
    dfake_gen_update_ratio: int = field(default=5, validator=ge(1))  # iterations per update of the generator
    update: str = field(default="every", validator=in_(("every", "alternate")))
    """iterations in which critics train: every one, or those without the generator, as FastGen's"""
    gan: bool = True  # train the classifier; false: distribution matching alone
    gen_cls_loss_weight: float = field(default=3e-3, validator=ge(0))
    """weight of the GAN's loss of the generator, in (c)"""
    guidance_cls_loss_weight: float = field(default=1e-2, validator=ge(0))
    """weight of the classifier's loss, in (d)"""
    diffusion_gan_max_timestep: int = field(default=T, validator=[ge(1), le(T)])
    """time steps, of 1000, from which the noise of the classifier's images is drawn"""
    features: str = field(default="fake_score", validator=in_(("fake_score", "teacher")))
    """network whose features the classifier sees; "teacher": FastGen's"""
    taps: tuple[int, ...] = field(default=(), validator=deep_iterable(ge(1)))
    """resolutions of the feature maps that the classifier sees; none given: the bottleneck"""
    critic_noise: str | None = field(default=None, validator=[optional(in_(("matching",))), _one_range])
    """with "matching": t of (7) in all losses, one t and n for all those of an image; FastGen's"""
    shared_pass: bool = field(default=False, validator=_same_noise, metadata=added_later(as_before=False))
    """with critic_noise "matching": features of generated images from the fake score's own pass over them"""
    classifier_lr: float | None = field(default=None, validator=[optional(gt(0)), _needs_gan])
    """learning rate of an optimizer of the classifier's own, as in FastGen; unset: it shares the fake score's"""
    rollout: str | None = field(default=None, validator=optional(in_(("noise", "data"))))
    """several steps, those of the sampler few-step: x is of a random one, made from noise by those before it, or
    from real images with its noise; unset: x is what the sampler makes"""
    lr: float = field(default=2e-6, validator=gt(0))
    """learning rate of the fake score; 5e-7: the last stage on ImageNet"""
    warmup_kimg: float = field(default=20.0, validator=ge(0))
    """images in which lr rises linearly from 0; published: 500 / 7 steps of 280"""
