"""The keys of RealUID, by the letters of realuid.py."""

from __future__ import annotations

from typing import Any

from distillkit.api import (
    INFINITE,
    Choice,
    Network,
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
)  # fmt: skip

POSITIVE: Any = optional(gt(0))  # an int bound is none for floats to attrs


@frozen(kw_only=True)
class RealUidConfig:
    alpha: float = field(default=1.0, validator=[gt(0), le(1)])
    """share of generated images in what the fake flow learns; published on CIFAR-10: 0.92, with labels 0.98"""
    beta: float = field(default=1.0, validator=[gt(0), le(1)])
    """share of their velocity; 1 with alpha = 1: no real image is used; published: 0.94, with labels 0.96"""
    relative: bool = field(default=False, metadata=added_later(as_before=False))
    """u_psi is u_* + beta (u_psi - u_*), where the fake network may begin far from the teacher; not as published"""
    t_min: float = field(default=0.0, validator=[ge(0), lt(1)])  # least time; raised to what the networks know
    t_max: float = field(default=1.0, validator=[gt(0), le(1)])
    """largest time, where images are clean; lowered to what the networks know"""
    updates: int = field(default=5, validator=ge(1))  # of the fake flow for one of the generator
    fake_flow: Choice[Network] | None = None
    """network of random weights to be the fake flow, as published; unset: a copy of the teacher"""
    lr: float = field(default=3e-5, validator=gt(0))  # learning rate of the fake flow
    betas: tuple[float, float] = field(default=(0.0, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))
    """decay per update of the averages of the gradient and of its square"""
    eps: float = field(default=1e-8, validator=gt(0))  # added to the root of the squared gradient
    clip_norm: float | None = field(default=1.0, validator=POSITIVE, metadata=INFINITE)
    """largest norm of all gradients; inf: any"""
    warmup_kimg: float = field(default=64.0, validator=ge(0))  # images in which lr rises linearly from 0
    schedule: str = field(default="constant", validator=in_(("constant", "cosine")))  # of lr after the warm-up
    decay_from: float = field(default=0.0, validator=ge(0))  # "cosine": share of the run after which lr falls
    final_lr: float = field(default=0.0, validator=ge(0))  # "cosine": lr at the end, as a share of lr

    def __attrs_post_init__(self) -> None:
        if self.alpha == 1 and self.beta != 1:
            raise ValueError(f"'beta' must be 1 where alpha is 1, for no real image is seen then: {self.beta}")
        if not self.t_min < self.t_max:
            raise ValueError(f"'t_min' {self.t_min} must be below 't_max' {self.t_max}")

    @property
    def depends_on_kimg(self) -> bool:
        return self.optimizer().depends_on_kimg

    def optimizer(self) -> Optimizer:
        """The fake flow's."""
        return Optimizer.of(self)
