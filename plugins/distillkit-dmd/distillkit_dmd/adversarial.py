"""DMD2's classifier as a supplementary term for any method: arXiv:2405.14867, Sec. 4.3, Eq. (4).

    (a)  L_gen = mean softplus(-l(x))                                    the term
    (b)  L_cls = mean softplus(l(x)) + mean softplus(-l(real))           of the head, in a turn of its own

Letters as in dmd2.py: l(y) are the head's logits at y + sigma_t n, t ~ U{0 ... diffusion_gan_max_timestep - 1}; with
flow_from as RealUID's code has them (arXiv:2509.22459), sigma_t = (1 - t) / t, t ~ U(flow_from, 1).
"""

from __future__ import annotations

from typing import ClassVar, cast

from torch import Tensor
from torch.nn.functional import softplus

from distillkit.api import (
    AuxiliaryLoss,
    EncoderFeatures,
    State,
    Step,
    Term,
    Turn,
    UsageError,
    and_,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    le,
    lt,
    optional,
    record_logits,
)
from distillkit.noise import SIGMA_MIN, fold
from distillkit_dmd.classifier import classifier_for, logits_at
from distillkit_dmd.config import OptimizerConfig, T
from distillkit_dmd.dmd import grid_sigma


class Adversarial(AuxiliaryLoss):
    """DMD2's classifier as a GAN term, on features of a fake score or of the teacher (arXiv:2405.14867).

    Other than in DMD2 only the head trains on (b), in a turn of its own; the features are the host's fake score as the
    host trains it, or the frozen teacher's.
    """

    tiny = {"taps": (), "warmup_kimg": 0.0}

    curves: ClassVar[dict[str, str]] = {
        "loss/adversarial": "The mean of the generator's adversarial loss and of the head's, which have one name: "
        "about 1.04 (0.69 and 1.39) where generated images pass for real as often as not. Its accuracies say more.",
    }

    @frozen(kw_only=True)
    class Config(OptimizerConfig):
        features: str = field(default="auto", validator=in_(("auto", "fake_score", "teacher")))
        """network whose features the classifier sees; "auto": a fake score where there is one"""
        taps: tuple[int, ...] = field(default=(), validator=deep_iterable(ge(1)))
        """resolutions of the feature maps that the classifier sees; none given: the bottleneck"""
        diffusion_gan_max_timestep: int = field(default=T, validator=[ge(1), le(T)])
        """time steps, of 1000, from which the noise of the classifier's images is drawn"""
        flow_from: float | None = field(default=None, validator=optional(and_(ge(1e-4), lt(1))))
        """in their place noise levels of times t ~ U(flow_from, 1) of a straight path to data; RealUID's GAN: 0.8"""
        lr: float = field(default=1e-4, validator=gt(0))  # learning rate of the head

    @hookimpl
    def setup(self, state: State) -> None:
        features = self.network(state)
        if features is None and state.teacher is None:
            raise UsageError('auxiliary_loss "adversarial" needs the features of a fake score or a [teacher_score]')
        head = classifier_for(state, features, self.config.taps, fold(state.seed, "adversarial", "init"))
        self.features = cast(EncoderFeatures, features)  # or classifier_for would have refused it
        self.classifier = state.add_network("adversarial", head, self.config.optimizer())
        made_by = [turn.name for turn in state.turns if "generator" in turn.trains] or ["generator"]
        turn = Turn(name="adversarial", trains=("adversarial",), same_images_as=made_by[0], asks=self.head_loss)
        state.turns.append(turn)

    def network(self, state: State) -> object:
        """The network whose encoder makes the features."""
        guidance = state.networks.get("guidance")
        fake_score: object = state.networks.get("fake_score") if guidance is None else guidance.fake_score
        teacher = state.teacher.network if state.teacher else None
        networks = {"fake_score": fake_score, "teacher": teacher}
        if self.config.features != "auto":
            return networks[self.config.features]
        return fake_score if isinstance(fake_score, EncoderFeatures) else teacher

    def head_loss(self, state: State, step: Step) -> Tensor:
        """(b) [N]."""
        l_fake = self.logits(step, step.x, step.labels)
        l_real = self.logits(step, step.real, step.real_labels)
        record_logits(state, l_fake, l_real, "adversarial", step=step)
        return softplus(l_fake).mean(1) + softplus(-l_real).mean(1)

    @hookimpl
    def auxiliary_loss(self, step: Step) -> Term:
        """(a)."""
        own = step.own
        return Term("adversarial", own.mean(softplus(-self.logits(own, own.x, own.labels)).mean(1)))

    def logits(self, step: Step, y: Tensor, labels: Tensor | None) -> Tensor:
        """l(y) [N, taps] of images y [N,C,H,W]."""
        c = self.config
        if c.flow_from is None:
            sigma = grid_sigma(step, 0, c.diffusion_gan_max_timestep - 1)
        else:
            t = step.uniform(c.flow_from, 1.0)
            sigma = ((1 - t) / t).clamp(min=SIGMA_MIN)
        return logits_at(self.features, self.classifier, y + sigma * step.randn_like(y), sigma, labels)
