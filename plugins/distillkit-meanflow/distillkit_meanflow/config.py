"""The keys of MeanFlow, by the letters of meanflow.py."""

from __future__ import annotations

from distillkit.api import INFINITE, Augment, Choice, added_later, and_, field, frozen, ge, gt, in_, le, optional
from distillkit_meanflow.times import Times


@frozen(kw_only=True)
class MeanFlowConfig(Times):
    velocity: str = field(default="data", validator=in_(("data", "teacher")))
    """what is averaged: n - y of each image, from scratch, or the teacher's velocity, distilled"""
    omega: float = 1.0  # weight of the image's own velocity in what is learned; guidance is omega / (1 - kappa)
    kappa: float = 0.0  # weight of the student's velocity for its label
    t_start: float = field(default=0.0, validator=[ge(0), le(1)])  # earliest time with guidance
    t_end: float = field(default=1.0, validator=[ge(0), le(1)])  # latest time with guidance
    label_dropout: float = field(default=0.0, validator=[ge(0), le(1)])
    """share of images that learn without label and guidance; published with guidance: 0.1"""
    form: str = field(default="regression", validator=in_(("regression", "tangent")))
    """whether the error's square is weighted, as published, or its gradient, as FastGen does by default"""
    p: float = field(default=1.0, validator=ge(0))  # power of the error in its weight; CIFAR-10: 0.75
    c: float = field(default=1.0, validator=gt(0))  # least of it; CIFAR-10: 0.001
    weight: str = field(default="power", validator=in_(("power", "exponential")), metadata=added_later("power"))
    """how an error e counts: 1 / (e + c)^p, or exp(c - p e), which FastGen's code offers"""
    per_pixel: bool = False  # form "tangent": g is divided by the root of the number of its pixels
    warmup_kimg: float = field(default=0.0, validator=ge(0), metadata=INFINITE)
    """images in which du/dt rises to its full weight; inf: it has none"""
    h: float | None = field(default=None, validator=optional(and_(ge(1e-6), le(0.5))))
    """du/dt by a difference over times +- h, for networks without forward mode; FastGen: 0.0001; unset: in forward
    mode"""
    augment: Choice[Augment] | None = None  # of real images; the network then needs its augment_dim

    def __attrs_post_init__(self) -> None:
        if self.t_start > self.t_end:
            raise ValueError(f"'t_start' {self.t_start} is after 't_end' {self.t_end}: no time would be guided")
        if self.weight == "exponential" and self.c > 80:
            raise ValueError(f"'c' {self.c}: errors near 0 would count e^c, at most e^80 with 'weight' \"exponential\"")

    @property
    def guided(self) -> bool:
        return (self.omega, self.kappa) != (1.0, 0.0)
