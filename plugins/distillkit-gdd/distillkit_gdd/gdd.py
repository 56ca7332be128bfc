"""GDD: a one-step generator from a GAN loss alone; the teacher gives nothing but its weights to start from.

G is the teacher's network in the consistency form with boundary 0.002, x = G(80 z, 80, c). D is a projected GAN's:
frozen feature networks, random projections, trained heads; its logits l [N,K], one block of K per feature network.

    (a)  L_G = sum_networks sum_images mean_K softplus(-l(x))
    (b)  L_D = the same of softplus(l(x)) + softplus(-l(real))
    (c)  R1  = 16 (gamma / 2) mean_images |d sum l(real) / d real|^2, an update of its own every 16th iteration

Hinge: -l(x); relu(1 + l(x)) + relu(1 - l(real)). D's Adam: lr 16/17, beta2^(16/17), for the additional updates.
(a) and (b) are sums over the batch as in the code; the paper's mean is `reduction = "mean"`.
The sum over discriminators is Projected GAN's, arXiv:2111.01007, Sec. 3; (c) is Eq. (9) of arXiv:1801.04406, lazy as
in arXiv:1912.04958. The letters are ours.
GDD-I: all convolutions within the residual blocks stay as they are, see freeze.py.
Source: arXiv:2405.20750 and 2506.09376 (D2O, D2O-F), in the form of the authors' code (github.com/Zyriix/GDD).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import GeneratorLoss, State, Step, Turn, UsageError, field, frozen, ge, hookimpl, le, record_logits
from distillkit_gdd import losses
from distillkit_gdd.config import GddConfig
from distillkit_gdd.discriminator import Discriminator
from distillkit_gdd.freeze import frozen_names


class Gdd(GeneratorLoss):
    """GAN loss alone, from the teacher's weights: GDD, also known as D2O (arXiv:2405.20750)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "one-step", "sigma_init": 80.0},
        "generator": {
            "dropout": 0.0,
            "optimizer": {"name": "adam", "lr": 1e-4, "betas": [0.0, 0.99], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 500.0,
        },
    }  # fmt: skip

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Adversarial loss of the generator. Where generated images pass for real as often as not "
        'it is 0.69 for each feature network, times the images of a batch with reduction = "sum": a healthy run '
        "comes down to about that (on digits from 135 to 90). A rise for good says that the discriminator wins.",
        "loss/discriminator": "Cross-entropy on real and on generated images: a healthy run is a little below twice "
        '0.69 for each feature network, times the images of a batch with reduction = "sum" (on digits 175). '
        "Falling for good says that it wins.",
        "loss/r1": "Penalty on the discriminator's slope at real images: small beside its loss. Growing for good "
        "says that the discriminator becomes too sharp: a larger r1_gamma, a lower lr.",
    }

    tiny = {"projection": 4, "width": 16, "embedding": 8, "cmap": 4, "r1_every": 2, "warmup_kimg": 0.0}

    @frozen(kw_only=True)
    class Config(GddConfig):
        freeze: int = field(default=0, validator=[ge(0), le(3)])
        """what does not train: 0 nothing, 1 convolutions of residual blocks (GDD-I), 2 qkv as well, 3 skips as well"""

    config: Config

    @property
    def network_keys(self) -> dict[str, Any]:
        return {"preconditioning": "consistency", "boundary": 0.002}

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        names = [name for name, _ in state.generator.named_parameters()]
        frozen = frozen_names(names, c.freeze)
        if c.freeze and not frozen:
            name = type(state.generator).__name__
            raise UsageError(f"GDD-I freezes convolutions in a U-Net's residual blocks; {name} has none: take `gdd`")
        state.frozen |= frozen
        self.D = Discriminator(state, c)
        state.turns = [
            Turn(name="generator", trains=("generator",), losses=("generator_loss",)),
            Turn(name="discriminator", trains=("discriminator",)),
        ]
        if c.r1_gamma:
            n = c.r1_every
            state.turns.append(Turn(name="r1", trains=("discriminator",), every=n, first=n, asks=self.penalty))

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        """(a) [N]."""
        with self.D.batch_statistics():
            return self.reduced(losses.generator_loss(self.D(step.x, step), self.config.loss), step)

    @hookimpl
    def critic_loss(self, state: State, step: Step) -> Tensor:
        """(b) [N]."""
        l_fake, l_real = self.D(step.x, step), self.D(step.real, step)
        record_logits(state, torch.cat(l_fake, 1), torch.cat(l_real, 1), step=step)
        return self.reduced(losses.discriminator_loss(l_fake, l_real, self.config.loss), step)

    def penalty(self, state: State, step: Step) -> Tensor:
        """(c) [N]."""
        c, real = self.config, step.real.requires_grad_()
        return c.r1_every * c.r1_gamma / 2 * losses.r1_penalty(self.D(real, step), real)

    def reduced(self, loss: Tensor, step: Step) -> Tensor:
        """The engine takes the mean over the batch: a sum is its multiple."""
        return loss * step.batch if self.config.reduction == "sum" else loss


class GddI(Gdd):
    """GDD with the teacher's inner convolutions frozen: GDD-I, also known as D2O-F (arXiv:2405.20750)."""

    @frozen(kw_only=True)
    class Config(GddConfig):
        freeze: int = field(default=1, validator=[ge(0), le(3)])
        """what does not train: 0 nothing (GDD), 1 convolutions of residual blocks, 2 qkv as well, 3 skips as well"""
