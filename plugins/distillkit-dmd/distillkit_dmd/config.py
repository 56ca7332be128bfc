"""The constants that DMD and DMD2 share, by their letters, with the published values as defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distillkit.api import (
    INFINITE,
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
