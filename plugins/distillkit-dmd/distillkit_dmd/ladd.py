"""LADD: a student learns by a GAN alone, whose discriminator is small heads on the teacher's features of noisy images.

theta is the student, phi the heads; x are generated images, y real ones, n unit noise. l(x_t) are the logits [K], one
a head, of the frozen teacher's features at x_t = x + sigma_t n; sigmoid(l): how likely the image is real.

    (a)  L_theta = mean softplus(-l(x_t))                            in every student_update_freq-th iteration
    (b)  L_phi   = mean softplus(l(x_t)) + mean softplus(-l(y_s)) + r1_weight R1     in all others
    (c)  R1      = mean (l(y_s) - l(y_s + r1_alpha n'))^2
    (d)  t, s    ~ U{T_min T ... T_max T}, points of EDM's grid of T = 1000 noise levels

Every image has a t and n of its own; `same_noise`: y has those of the x beside it, s = t.
(c) moves the noisy image; FastGen's code compares it with the clean one, moved, at the same noise level: a number that
grows with the noise. Its weight there is 0. The paper's real images are the teacher's, its losses hinge losses.
Source: arXiv:2403.12015, as FastGen has it (github.com/NVlabs/FastGen, fastgen/methods/distribution_matching/ladd.py);
the letters are ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch.nn.functional import softplus

from distillkit.api import (
    INFINITE,
    EncoderFeatures,
    GeneratorLoss,
    State,
    Step,
    Turn,
    UsageError,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    le,
    record_logits,
)
from distillkit.noise import fold
from distillkit_dmd.classifier import classifier_for, logits_at
from distillkit_dmd.config import POSITIVE, NoiseConfig, ordered
from distillkit_dmd.dmd import drawn, matching_sigma

if TYPE_CHECKING:
    from torch import Tensor

CLASSIFIER = (
    "Cross-entropy of the discriminator on real and on generated images: 1.39, twice ln 2, says that it cannot tell "
    "them apart. Far below for long it wins."
)


class Ladd(GeneratorLoss):
    """LADD: a GAN alone, on the frozen teacher's features of noisy images (arXiv:2403.12015)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "one-step", "sigma_init": 80.0},
        "generator": {
            "optimizer": {
                "name": "adamw", "lr": 1e-4, "betas": [0.9, 0.999], "weight_decay": 0.01, "clip_norm": 10.0,
                "warmup_kimg": 0.0,
            },
            "dropout": 0.0, "ema": "none",
        },
    }  # fmt: skip

    tiny = {"taps": ()}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "0.69 where generated images pass for real as often as not, a little more in a healthy run. "
        "A rise for good says that the discriminator wins.",
        "loss/classifier": f"{CLASSIFIER} With R1, where that has a weight.",
    }

    @frozen(kw_only=True)
    class Config(NoiseConfig):
        student_update_freq: int = field(default=5, validator=ge(1))
        """iterations per update of the student; the others are the critics', with 1 every one is for both"""
        taps: tuple[int, ...] = field(default=(), validator=deep_iterable(ge(1)))
        """resolutions of the teacher's feature maps that have a head; empty: the bottleneck; CIFAR-10: 32, 16, 8"""
        same_noise: bool = False  # real images get the noise level and the noise of the generated ones beside them
        r1_weight: float = field(default=0.0, validator=ge(0))  # of R1, (c)
        r1_alpha: float = field(default=0.1, validator=gt(0))  # how far R1 moves a noisy image
        T_min: float = field(default=0.002, validator=[ge(0), le(1)])
        """noise "grid": share of the time steps where t starts"""
        T_max: float = field(default=0.998, validator=[gt(0), le(1), ordered])
        """noise "grid": share of the time steps where t ends"""
        lr: float = field(default=1e-4, validator=gt(0))  # learning rate of the critics
        clip_norm: float | None = field(default=None, validator=POSITIVE, metadata=INFINITE)
        """largest norm of a critic's gradients; unset, as published: the student alone is clipped"""

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        self.add_classifier(state)
        state.turns = self.turns("classifier", ("classifier",))

    def add_classifier(self, state: State) -> None:
        """The heads phi, a network with an optimizer."""
        if state.teacher is None:
            raise UsageError("the discriminator sees the teacher's features: the recipe needs a [teacher_score]")
        network, seed = state.teacher.network, fold(state.seed, "classifier", "init")
        heads = classifier_for(state, network, self.config.taps, seed)
        self.features = cast(EncoderFeatures, network)  # or classifier_for would have refused it
        self.classifier = state.add_network("classifier", heads, self.config.optimizer())

    def turns(self, name: str, critics: tuple[str, ...]) -> list[Turn]:
        """The student's turn, and that of `critics` in the iterations between."""
        every = self.config.student_update_freq
        return [Turn(name="generator", trains=("generator",), losses=("generator_loss",), every=every)] + [
            Turn(name=name, trains=critics, every=every, first=i, same_images_as="generator")
            for i in range(min(1, every - 1), every)
        ]

    @hookimpl
    def critic_loss(self, state: State, step: Step) -> Tensor:
        """(b) [N]."""
        return self.classifier_loss(state, step, *drawn(step, matching_sigma(step, self.config)))

    @hookimpl
    def generator_loss(self, step: Step) -> Tensor:
        """(a) [N]."""
        return self.adversarial_loss(self.logits(step.x, step.labels, *drawn(step, matching_sigma(step, self.config))))

    def classifier_loss(self, state: State, step: Step, sigma: Tensor, n: Tensor) -> Tensor:
        """(b) [N], of generated images at noise level sigma [N,1,1,1], n [N,C,H,W]."""
        c, y, labels = self.config, step.real, step.real_labels
        l_fake = self.logits(step.x, step.labels, sigma, n)
        of_y = (sigma, n) if c.same_noise else drawn(step, matching_sigma(step, c))
        l_real = self.logits(y, labels, *of_y)
        record_logits(state, l_fake, l_real, step=step)
        loss = softplus(l_fake).mean(1) + softplus(-l_real).mean(1)
        if c.r1_weight:
            l_near = self.logits(y + c.r1_alpha * step.randn_like(y), labels, *of_y)
            loss = loss + c.r1_weight * (l_real - l_near).square().mean(1)  # (c)
        return loss

    def adversarial_loss(self, l_fake: Tensor) -> Tensor:
        """(a) [N], of l(x_t) [N,K]."""
        return softplus(-l_fake).mean(1)

    def logits(self, y: Tensor, labels: Tensor | None, sigma: Tensor, n: Tensor) -> Tensor:
        """l(y + sigma n) [N,K] of images y [N,C,H,W]."""
        return logits_at(self.features, self.classifier, y + sigma * n, sigma, labels)
