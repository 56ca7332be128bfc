"""DMD's regression loss as a supplementary term: the student's image of a noise against the teacher's.

    (9)  L_reg = E l(G(z), y),   weighted by lambda_reg

z unit noise, y the image that the teacher's sampler makes of it, l LPIPS as published. The equation number is the
paper's. Source: arXiv:2311.18828, Section 3.3.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from distillkit import noise
from distillkit.api import (
    AuxiliaryLoss,
    Choice,
    Embedding,
    Sample,
    State,
    Step,
    Term,
    UsageError,
    Use,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    optional,
)
from distillkit.distances import DISTANCES, distance, wants_features
from distillkit_dmd.pairs import Pairs

LAMBDA_REG = 0.25  # arXiv:2311.18828, Section 3.3; 0.5 for CIFAR-10 without labels


class Regression(AuxiliaryLoss):
    """DMD's regression on stored pairs of noise and teacher image, Eq. (9) (arXiv:2311.18828).

    weight = "auto" means lambda_reg = 0.25. "lpips" is the squared distance of the outputs of `features`: LPIPS where
    that is "lpips-vgg16" or another whose outputs are such that their squared distance is LPIPS.
    """

    tiny = {"pairs": 64}
    before_training = ("pairs",)

    curves: ClassVar[dict[str, str]] = {
        "loss/regression": "Distance of the student's image of a noise from the teacher's: it falls to the end (on "
        "digits from 0.15 to 0.05). One that stays says that the student draws other images of the same noise.",
    }

    @frozen(kw_only=True)
    class Config:
        pairs: int = field(default=100_000, validator=ge(1))
        """noise and the teacher's image of it; 500_000: CIFAR-10 without labels; 25_000: ImageNet"""
        sampler: Choice[Sample] = Use("heun")  # of the teacher's images; the default has 18 steps, ImageNet needs 256
        batch: int | None = field(default=None, validator=optional(ge(1)))  # pairs per step; unset: run.batch
        distance: str = field(default="l2", validator=in_(DISTANCES))
        """between the student's image and the teacher's; published: lpips"""
        huber_c: float = field(default=0.03, validator=gt(0))
        """distance "huber": its width; arXiv:2310.14189 has 0.00054 sqrt(C H W)"""
        features: Choice[Embedding] | None = field(default=None, validator=wants_features)
        """network of the distance "lpips", such as lpips-vgg16"""
        seed: int = field(default=0, validator=ge(0))  # of the pairs, whatever the run's seed

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        if state.teacher is None:
            raise UsageError('auxiliary_loss "regression" needs a [teacher_score] table: it makes the pairs')
        c = self.config
        self.pairs = Pairs(state, c.sampler, c.pairs, c.seed)
        self.phi = None if c.features is None else state.embedding(c.features)

    @hookimpl
    def auxiliary_loss(self, state: State, step: Step) -> Term:
        """Eq. (9); its gradient reaches the generator directly."""
        n = self.config.batch or state.batch
        index = noise.shuffled(state.seed, "regression/pairs", state.iteration * n, n, self.config.pairs)
        share = state.rows(n)  # of this rank
        index = index[share]
        pairs = {name: t.to(state.device, state.dtype, non_blocking=True) for name, t in self.pairs[index].items()}
        with noise.masks_of(share.start, len(index)):
            x = state.hook.sample(state=state, z=pairs["z"], labels=pairs.get("labels"))
        at_once = n if state.micro_batch == state.batch else state.micro_batch
        return Term("regression", step.own.mean(self.in_parts(x, pairs["y"], at_once)), weight=LAMBDA_REG)

    def in_parts(self, x: Tensor, y: Tensor, at_once: int) -> Tensor:
        """l(x, y) [N]; "lpips" holds the feature network's graph, which is large, of so many images only."""
        if self.phi is None or len(x) <= at_once:
            return self.distance(x, y)
        parts = zip(x.split(at_once), y.split(at_once), strict=True)
        return torch.cat(
            [checkpoint(self.distance, a, b, use_reentrant=False, context_fn=noise.masks_again) for a, b in parts]
        )

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """l(x, y) [N] of images [N,C,H,W]."""
        return distance(self.config.distance, x, y, self.config.huber_c, self.phi)
