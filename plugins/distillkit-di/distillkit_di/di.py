"""Diff-Instruct: descend the integral KL divergence along the difference of the fake and the teacher's score.

theta is the generator, phi the fake score, q the teacher; x = g_theta(z) and x_t = x + sigma n with unit noise n. Their
denoised D_fake, D_real give the scores s_phi = (D_fake - x_t) / sigma^2 and s_q = (D_real - x_t) / sigma^2.

    (a)  IKL(p, q)  = int w(t) KL(p_t, q_t) dt
    (b)  grad_theta = E w(t) (s_phi(x_t) - s_q(x_t)) dx/dtheta,   ln sigma ~ N(G_P_mean, G_P_std^2)
    (c)  L_phi      = sgls lambda(sigma) sum (D_fake - x)^2,      ln sigma ~ N(P_mean, P_std^2)

(a) and its gradient (b) are Sec. 3 of the paper, (c) and (b) the two updates of Algorithm 1; the letters are ours.
As a loss, (b) is ls sum (d x) with d constant: d = D_fake - D_real for w(t) = sigma^2, the code's (weight = "code");
the plain divergence, w(t) = 1, is weight = "one". Sums run over the pixels of one image.
Both scores of (b) run with dropout, and with the same masks, so that the masks cancel in d.
Source: arXiv:2305.18455, Algorithm 1, in the form of its authors' code (github.com/pkulwj1994/diff_instruct).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import (
    Augment,
    Choice,
    Denoise,
    Denoiser,
    GeneratorLoss,
    Optimizer,
    State,
    Step,
    and_,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    lt,
)
from distillkit.noise import denoising_loss, masks_kept


class DiffInstruct(GeneratorLoss):
    """Diff-Instruct: data-free, along the difference of two scores (arXiv:2305.18455)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "one-step", "sigma_init": 1.0},
        "generator": {
            "optimizer": {"name": "adam", "lr": 1e-5, "betas": [0.0, 0.999], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 500.0,
        },
    }  # fmt: skip

    tiny = {"warmup_kimg": 0.0}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "The generated images along the difference of both scores, which counts as a constant: a "
        "number of either sign that comes back to about 0. It measures nothing; the norm of its gradient does.",
        "loss/critic": "Denoising error of the fake score at generated images: it falls to a level (on digits 30). "
        "A jump says that the student moves faster than the fake score can follow.",
    }

    @frozen(kw_only=True)
    class Config:
        # the generator's loss, (b)
        ls: float = field(default=1.0, validator=gt(0))  # scale of the generator's loss
        weight: str = field(default="code", validator=in_(("code", "one")))
        """w(t) of the generator's loss: sigma^2, as the authors' code has it, or 1"""
        G_P_mean: float = -1.2  # mean of ln sigma in the generator's loss
        G_P_std: float = field(default=1.2, validator=gt(0))  # standard deviation of ln sigma in the generator's loss
        shared_dropout: bool = True  # the same dropout masks in both scores; false: no dropout in either
        # the fake score's loss, (c)
        sgls: float = field(default=1.0, validator=gt(0))  # scale of the fake score's loss
        P_mean: float = -1.2  # mean of ln sigma in the fake score's loss
        P_std: float = field(default=1.2, validator=gt(0))  # standard deviation of ln sigma in the fake score's loss
        augment: Choice[Augment] | None = None  # of the images that the fake score sees
        # the fake score's optimizer, Adam
        lr: float = field(default=1e-5, validator=gt(0))  # learning rate of the fake score
        betas: tuple[float, float] = field(default=(0.0, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))
        """decay per update of the averages of the gradient and of its square"""
        eps: float = field(default=1e-8, validator=gt(0))  # added to the root of the squared gradient
        warmup_kimg: float = field(default=0.0, validator=ge(0))  # images in which lr rises linearly from 0
        schedule: str = field(default="constant", validator=in_(("constant", "cosine")))  # of lr after the warm-up
        decay_from: float = field(default=0.0, validator=ge(0))  # "cosine": share of the run after which lr falls
        final_lr: float = field(default=0.0, validator=ge(0))  # "cosine": lr at the end, as a share of lr

        @property
        def depends_on_kimg(self) -> bool:
            return self.optimizer().depends_on_kimg

        def optimizer(self) -> Optimizer:
            """The fake score's optimizer."""
            return Optimizer.of(self)

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        """Turns are the engine's default: the fake score, then the generator, each on images and labels of its own."""
        c = self.config
        self.fake_score = state.add_network("fake_score", "teacher", c.optimizer())
        networks = [self.fake_score, state.teacher.network if state.teacher else None]
        self.with_dropout = [network for network in networks if network is not None] if c.shared_dropout else []
        self.augment = c.augment and c.augment.build()

    @hookimpl
    def critic_loss(self, step: Step) -> Tensor:
        """(c)."""
        c = self.config
        sigma = step.lognormal_sigma(c.P_mean, c.P_std)
        y, augment_labels = self.augment(step.x, step) if self.augment else (step.x, None)
        D_fake = self.fake_score(y + sigma * step.randn_like(y), sigma, step.labels, augment_labels)
        return c.sgls * denoising_loss(D_fake, y, sigma).flatten(1).sum(1)

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(b)."""
        c = self.config
        sigma = step.lognormal_sigma(c.G_P_mean, c.G_P_std)
        x_t = step.x.detach() + sigma * step.randn_like(step.x)
        with torch.no_grad(), training(self.with_dropout):
            with masks_kept(x_t.device):
                D_fake = self.fake_score(x_t, sigma, step.labels)
            D_real = teacher_score(x_t, sigma, step.labels)
        d = D_fake - D_real
        if c.weight == "one":
            d = d / sigma**2
        return c.ls * (d * step.x).flatten(1).sum(1)


@contextmanager
def training(networks: list[Denoiser]) -> Iterator[None]:
    """Inside, the networks run as in training (dropout); outside, in evaluation mode."""
    for network in networks:
        network.train()
    try:
        yield
    finally:
        for network in networks:
            network.eval()
