"""CTM with its adversarial loss, the second stage: from a student that jumps and denoises already.

Letters as in ctm.py; l(x) are a discriminator's logits: heads that train on frozen feature maps, averaged.

    (h)  x_fake = G(x_t, t, epsilon);   fake = "estimate": G'(G(x_t, t, s), s, epsilon), as on ImageNet-64
    (i)  L = L_CTM + lambda_DSM L_DSM + lambda_GAN L_GAN,   L_GAN = -l(x_fake)
         lambda_GAN = |dL_CTM/dw| / (|dL_GAN/dw| + 1e-4),   within 0.01 and 10
    (j)  L_D = relu(1 + l(x_fake)) + relu(1 - l(y)),   of the discriminator

Student and discriminator take turns, an iteration each. Source: arXiv:2310.02279, Algorithm 1, in the form of its
authors' code; their heads are those of StyleGAN-XL, with random projections and augmentation, and ours are plain.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from distillkit import noise
from distillkit.api import (
    Backbone,
    Choice,
    Optimizer,
    State,
    Step,
    Turn,
    Use,
    and_,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    lt,
    min_len,
    record_logits,
)
from distillkit_ctm.config import CtmConfig
from distillkit_ctm.ctm import Ctm, G
from distillkit_ctm.draw import Draw, draw
from distillkit_ctm.heads import Heads


class CtmGan(Ctm):
    """CTM's second stage, with a discriminator on frozen features (arXiv:2310.02279)."""

    curves: ClassVar[dict[str, str]] = {
        **Ctm.curves,
        "loss/discriminator": "Hinge loss on real and on generated images: 2 where it cannot tell them apart. Falling "
        "to 0 for good says that it wins.",
        "loss/gan": "Minus the logits of the student's images: it goes about 0.",
    }

    tiny = {"N": 4, "h": 2, "width": 8}

    @frozen(kw_only=True)
    class Config(CtmConfig):
        fake: str = field(default="jump", validator=in_(("jump", "estimate")))
        """images that the discriminator sees: jumps to the end, or by way of s and the target"""
        backbones: tuple[Choice[Backbone], ...] = field(default=(Use("random-pyramid"),), validator=min_len(1))
        """frozen networks whose maps it sees; published: deit and efficientnet-lite0"""
        gan: float = field(default=1.0, validator=ge(0))  # factor of the adversarial loss
        period: int = field(default=2, validator=ge(2))
        """iterations in which the student and then the discriminator train, one each"""
        width: int = field(default=64, validator=ge(1))  # channels of the discriminator's heads
        lr: float = field(default=2e-3, validator=gt(0))  # learning rate of the discriminator
        betas: tuple[float, float] = field(default=(0.5, 0.9), validator=deep_iterable(and_(ge(0), lt(1))))
        """decay per update of the averages of the gradient and of its square"""
        eps: float = field(default=1e-8, validator=gt(0))  # added to the root of the squared gradient

    config: Config

    @property
    def whole_weights(self) -> bool:
        return self.config.adaptive

    @hookimpl
    def setup(self, state: State) -> None:
        super().setup(state)
        c = self.config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(noise.fold(state.seed, "discriminator"))
            self.backbones = [part.build().module(state).to(state.device, state.dtype) for part in c.backbones]
            x = torch.zeros(1, *state.dataset.shape, device=state.device, dtype=state.dtype)
            labels = x.new_zeros(1, state.layout.size) if state.layout.size else None
            with torch.no_grad():
                widths = [m.shape[1] for net in self.backbones for m in net(x, labels, torch.zeros_like)]
            heads = Heads(widths, c.width, state.layout.size)
        self.heads = state.add_network("discriminator", heads, Optimizer.of(c))
        state.turns = [
            Turn(name="generator", trains=("generator",), losses=("generator_loss",), every=c.period),
            Turn(name="discriminator", trains=("discriminator",), every=c.period, first=1),
        ]

    def share(self, state: State) -> float:
        """The target follows where the student has moved."""
        return self.config.mu if state.iteration % self.config.period == 0 else 1.0

    def further(self, state: State, step: Step, at: Draw, L_ctm: Tensor) -> Tensor:
        """lambda_GAN L_GAN of (i) [N]."""
        L_gan = -mean(self.logits(self.fake(state.generator, at, step.labels), step))
        state.record("loss/gan", L_gan.detach().mean())
        return self.config.gan * self.balance("gan", state, step, L_ctm, L_gan, (0.01, 10.0)) * L_gan

    @hookimpl
    def critic_loss(self, state: State, step: Step) -> Tensor:
        """(j) [N]."""
        with torch.no_grad():
            x_fake = self.fake(state.generator, draw(self.config, state, step), step.labels)
        l_fake, l_real = self.logits(x_fake, step), self.logits(step.real, step)
        record_logits(state, torch.cat(l_fake, 1), torch.cat(l_real, 1), step=step)
        return mean([F.relu(1 + part) for part in l_fake]) + mean([F.relu(1 - part) for part in l_real])

    def fake(self, g: Any, at: Draw, labels: Tensor | None) -> Tensor:
        """(h) [N,C,H,W]."""
        epsilon = torch.full_like(at.t, self.config.sigma_min)
        if self.config.fake == "jump":
            return G(g, at.x_t, at.t, epsilon, labels)
        return G(self.target, G(g, at.x_t, at.t, at.s, labels), at.s, epsilon, labels)

    def logits(self, x: Tensor, step: Step) -> list[Tensor]:
        """l(x) [N,K] of each map, of images [N,C,H,W]."""
        maps = [m for net in self.backbones for m in net(x, step.labels, step.randn_like)]
        return cast(list[Tensor], self.heads(maps, step.labels))


def mean(logits: list[Tensor]) -> Tensor:
    """Over the logits of each head, then over heads [N]."""
    return torch.stack([part.mean(1) for part in logits]).mean(0)
