"""The constants that DMD and DMD2 share, by their letters, with the published values as defaults."""

from __future__ import annotations

from typing import Any

from distillkit.api import Optimizer, field, frozen, ge, gt, in_, le, optional


def _ordered(instance: Any, attribute: Any, value: float) -> None:
    if value <= instance.T_min:
        raise ValueError(f"'T_max' must be above T_min = {instance.T_min}: {value}")


@frozen(kw_only=True)
class OptimizerConfig:
    """Of the networks that train beside the generator: AdamW."""

    lr: float = field(default=5e-5, validator=gt(0))
    betas: tuple[float, float] = (0.9, 0.999)  # checked by Optimizer
    eps: float = field(default=1e-8, validator=gt(0))
    weight_decay: float = field(default=0.01, validator=ge(0))
    clip_norm: float | None = field(default=10.0, validator=optional(gt(0)))  # of all gradients together
    warmup_kimg: float = field(default=0.0, validator=ge(0))  # linear from 0
    schedule: str = field(default="constant", validator=in_(("constant", "cosine")))
    decay_from: float = field(default=0.0, validator=ge(0))  # fraction of the run where the cosine starts
    final_lr: float = field(default=0.0, validator=ge(0))  # fraction of lr at its end

    def optimizer(self, lr: float | None = None) -> Optimizer:
        """AdamW with these keys; `lr` in place of theirs."""
        return Optimizer(
            name="adamw", lr=self.lr if lr is None else lr, betas=self.betas, eps=self.eps,
            weight_decay=self.weight_decay, clip_norm=self.clip_norm, warmup_kimg=self.warmup_kimg,
            schedule=self.schedule, decay_from=self.decay_from, final_lr=self.final_lr,
        )  # fmt: skip


@frozen(kw_only=True)
class SharedConfig(OptimizerConfig):
    # distribution matching, Eq. (7)
    noise: str = field(default="grid", validator=in_(("grid", "lognormal")))  # its sigma; grid: published
    T_min: float = field(default=0.02, validator=[ge(0), le(1)])  # grid: fraction of T where t starts
    T_max: float = field(default=0.98, validator=[gt(0), le(1), _ordered])  # grid: and where it ends
    G_P_mean: float = -0.6  # lognormal: mean of ln sigma
    G_P_std: float = field(default=1.4, validator=gt(0))  # lognormal: its standard deviation
    # the fake score, Eq. (6)
    fake_weight: str = field(default="edm", validator=in_(("edm", "none")))  # none: FastGen's
