"""DMD2: DMD without pairs; a classifier on the fake score's features compares generated with real images instead.

Letters, (6) and (7) as in dmd.py; (7) is Eq. (2) of this paper. l(y) are the classifier's logits at y + sigma_t n, an
image with noise: t ~ U{0 ... diffusion_gan_max_timestep - 1}; every image, generated or real, has its own t and n.

    (a)  L_gen      = mean softplus(-l(x))
    (b)  L_cls      = mean softplus(l(x)) + mean softplus(-l(real))
    (c)  L_theta    = (7) + gen_cls_loss_weight L_gen             every dfake_gen_update_ratio-th iteration
    (d)  L_guidance = (6) + guidance_cls_loss_weight L_cls        every iteration, on the images of (c)

(a) and (b) are Eq. (4) of the paper, D = sigmoid(l), Sec. 4.3; more updates of the fake score than of the generator are
its Sec. 4.2. The letters are ours, the weights' names the code's.
Fake score and classifier ("guidance") share one AdamW and one gradient norm, clipped to 10, as the generator's.
`shared_pass`, not published: l(x) and D_fake from one pass of the fake score, in (c) and in (d).
FastGen's variant (github.com/NVlabs/FastGen): features = "teacher", update = "alternate" (the iteration of (c) has no
(d)), fake_weight = "none", critic_noise = "matching", T_min = 0.002, T_max = 0.998, gen_cls_loss_weight = 1e-3,
guidance_cls_loss_weight = 1, classifier_lr = lr, no clipping of (d), and taps at several resolutions.
With several steps (Sec. 4.4, 4.5): x is made by the student's own steps to a random one, backward simulation; FastGen's
x is made of real images with the noise of a random step.
Source: arXiv:2405.14867 in the form of its authors' code (github.com/tianweiy/DMD2, ImageNet 64, EDM teacher).
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

from torch import Tensor
from torch.nn.functional import softplus

from distillkit.api import (
    Denoise,
    DenoisedFeatures,
    EncoderFeatures,
    State,
    Step,
    Turn,
    UsageError,
    added_later,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    le,
    optional,
    record_logits,
    rollout_of,
)
from distillkit.noise import fold
from distillkit_dmd.classifier import Classifier, Guidance, classifier_for
from distillkit_dmd.config import SharedConfig
from distillkit_dmd.dmd import MATCHING, Dmd, T, drawn, grid_sigma


def _one_range(instance: Any, attribute: Any, value: str | None) -> None:
    if value and instance.diffusion_gan_max_timestep != T:
        raise ValueError(
            "'critic_noise' draws the GAN's t like those of the matching loss: no 'diffusion_gan_max_timestep' then"
        )


def _needs_gan(instance: Any, attribute: Any, value: float | None) -> None:
    if value is not None and not instance.gan:
        raise ValueError("'classifier_lr' is of a classifier, and gan = false has none")


def _same_noise(instance: Any, attribute: Any, value: bool) -> None:
    if value and not (instance.gan and instance.critic_noise and instance.features == "fake_score"):
        raise ValueError(
            "'shared_pass' takes the classifier's features from the fake score's own pass: it needs gan = true,"
            ' features = "fake_score", and one noise for both, critic_noise = "matching"'
        )


class Dmd2(Dmd):
    """DMD without pairs, with a GAN and five fake-score updates per generator update (arXiv:2405.14867)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "one-step", "sigma_init": 80.0},
        "generator": {
            "optimizer": {
                "name": "adamw", "lr": 2e-6, "betas": [0.9, 0.999], "weight_decay": 0.01, "clip_norm": 10.0,
                "warmup_kimg": 20.0,
            },
            "dropout": 0.0, "ema": "none",
        },
    }  # fmt: skip

    tiny = {**Dmd.tiny, "taps": ()}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": f"{MATCHING} The classifier's part is small beside it.",
        "loss/guidance": "Denoising error of the fake score at generated images, and the classifier's loss with its "
        "weight: it falls, and rises to a level as images gain detail (on digits 0.35, then 0.65).",
        "loss/classifier": "Cross-entropy of the classifier on real and on generated images: 1.39, twice ln 2, says "
        "that it cannot tell them apart, and is what a healthy run stays a little below. Far below for long it "
        "wins.",
        "loss/adversarial": "The classifier's part of the generator's loss, without its weight: 0.69 where "
        "generated images pass for real as often as not, a little more in a healthy run. A rise for good says that "
        "the classifier wins.",
    }

    @frozen(kw_only=True)
    class Config(SharedConfig):
        dfake_gen_update_ratio: int = field(default=5, validator=ge(1))  # iterations per update of the generator
        update: str = field(default="every", validator=in_(("every", "alternate")))
        """iterations in which critics train: every one, or those without the generator, as FastGen's"""
        gan: bool = True  # train the classifier; false: distribution matching alone
        gen_cls_loss_weight: float = field(default=3e-3, validator=ge(0))
        """weight of the GAN's loss of the generator, in (c)"""
        guidance_cls_loss_weight: float = field(default=1e-2, validator=ge(0))
        """weight of the classifier's loss, in (d)"""
        diffusion_gan_max_timestep: int = field(default=T, validator=[ge(1), le(T)])
        """time steps, of 1000, from which the noise of the classifier's images is drawn"""
        features: str = field(default="fake_score", validator=in_(("fake_score", "teacher")))
        """network whose features the classifier sees; "teacher": FastGen's"""
        taps: tuple[int, ...] = field(default=(), validator=deep_iterable(ge(1)))
        """resolutions of the feature maps that the classifier sees; none given: the bottleneck"""
        critic_noise: str | None = field(default=None, validator=[optional(in_(("matching",))), _one_range])
        """with "matching": t of (7) in all losses, one t and n for all those of an image; FastGen's"""
        shared_pass: bool = field(default=False, validator=_same_noise, metadata=added_later(as_before=False))
        """with critic_noise "matching": features of generated images from the fake score's own pass over them"""
        classifier_lr: float | None = field(default=None, validator=[optional(gt(0)), _needs_gan])
        """learning rate of an optimizer of the classifier's own, as in FastGen; unset: it shares the fake score's"""
        rollout: str | None = field(default=None, validator=optional(in_(("noise", "data"))))
        """several steps, those of the sampler few-step: x is of a random one, made from noise by those before it, or
        from real images with its noise; unset: x is what the sampler makes"""
        lr: float = field(default=2e-6, validator=gt(0))
        """learning rate of the fake score; 5e-7: the last stage on ImageNet"""
        warmup_kimg: float = field(default=20.0, validator=ge(0))
        """images in which lr rises linearly from 0; published: 500 / 7 steps of 280"""

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        self.fake_score = state.copy_of("teacher")
        self.features = self.fake_score if c.features == "fake_score" else state.teacher and state.teacher.network
        seed = fold(state.seed, "classifier", "init")
        self.classifier = classifier_for(state, self.features, c.taps, seed) if c.gan else None
        if c.shared_pass and not isinstance(self.fake_score, DenoisedFeatures):
            name = type(self.fake_score).__name__
            raise UsageError(f"generator_loss.shared_pass needs a network with `denoised_features`: {name} has none")
        if c.rollout is not None:  # one step for all images where the calls before it cost time; else one for each
            how = {"start": c.rollout, "drawn": "batch" if c.rollout == "noise" else "row"}
            self.rollout = rollout_of(state, f'generator_loss.rollout = "{c.rollout}"', **how)
        critics = self.add_critics(state)
        state.turns = [Turn(name="generator", trains=("generator",), losses=("generator_loss",), every=self.ratio)]
        state.turns += self.guidance_turns(critics)

    def add_critics(self, state: State) -> tuple[str, ...]:
        """Names of the networks that train beside the generator: each has an optimizer."""
        c = self.config
        if c.classifier_lr is None or self.classifier is None:
            state.add_network("guidance", Guidance(self.fake_score, self.classifier), c.optimizer())
            return ("guidance",)
        state.add_network("fake_score", self.fake_score, c.optimizer())
        state.add_network("classifier", self.classifier, c.optimizer(c.classifier_lr))
        return "fake_score", "classifier"

    @property
    def ratio(self) -> int:
        return self.config.dfake_gen_update_ratio

    def guidance_turns(self, critics: tuple[str, ...]) -> list[Turn]:
        """Every iteration; "alternate": all but the generator's."""
        if self.config.update == "every" or self.ratio == 1:
            return [Turn(name="guidance", trains=critics, same_images_as="generator")]
        return [
            Turn(name="guidance", trains=critics, every=self.ratio, first=i, same_images_as="generator")
            for i in range(1, self.ratio)
        ]

    @hookimpl
    def critic_loss(self, state: State, step: Step) -> Tensor:  # type: ignore[override] # hooks take what they need
        """(d) [N]."""
        sigma = self.generator_sigma(step) if self.config.critic_noise else grid_sigma(step, 0, T - 1)
        noise = drawn(step, sigma)
        if self.config.shared_pass:
            D_fake, l_fake = self.both(step, *noise)
            L_fake = self.error(step, D_fake, sigma)
        else:
            L_fake = self.denoising_loss(step, *noise)
            if not self.config.gan:
                return L_fake
            l_fake = self.logits(step.x, step.labels, *self.gan_noise(step, noise))
        l_real = self.logits(step.real, step.real_labels, *self.gan_noise(step))
        record_logits(state, l_fake, l_real, step=step)
        L_cls = softplus(l_fake).mean(1) + softplus(-l_real).mean(1)
        state.record("loss/classifier", L_cls.mean())
        return L_fake + self.config.guidance_cls_loss_weight * L_cls

    @hookimpl
    def generator_loss(  # type: ignore[override]
        self, state: State, step: Step, teacher_score: Denoise
    ) -> Tensor:
        """(c) [N]."""
        noise = drawn(step, self.generator_sigma(step))
        if self.config.shared_pass:
            D_fake, l_fake = self.both(step, *noise)
            L_dm = self.matching_loss(step, *noise, teacher_score, D_fake)
        else:
            L_dm = self.matching_loss(step, *noise, teacher_score)
            if not self.config.gan:
                return L_dm
            l_fake = self.logits(step.x, step.labels, *self.gan_noise(step, noise))
        L_gen = softplus(-l_fake).mean(1)
        state.record("loss/adversarial", L_gen.mean())
        return L_dm + self.config.gen_cls_loss_weight * L_gen

    def gan_noise(self, step: Step, of_x: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """sigma [N,1,1,1] and n [N,C,H,W] of the images to classify; `of_x`: those of the loss beside it."""
        c = self.config
        if c.critic_noise is None:
            return drawn(step, grid_sigma(step, 0, c.diffusion_gan_max_timestep - 1))
        return of_x or drawn(step, self.generator_sigma(step))

    def both(self, step: Step, sigma: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
        """D_fake [N,C,H,W] and l [N, taps] at x + sigma n, from one pass of the fake score."""
        self.fake_score.eval()  # dropout is off in DMD
        network = cast(DenoisedFeatures, self.fake_score)
        D_fake, maps = network.denoised_features(step.x + sigma * n, sigma, step.labels)
        return D_fake, cast(Classifier, self.classifier)(maps)

    def logits(self, y: Tensor, labels: Tensor | None, sigma: Tensor, n: Tensor) -> Tensor:
        """l(y) [N, taps] of images y [N,C,H,W] with the noise sigma n."""
        maps = cast(EncoderFeatures, self.features).encoder_features(y + sigma * n, sigma, labels)
        logits: Tensor = cast(Classifier, self.classifier)(maps)
        return logits
