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

from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import softplus

from distillkit.api import Denoise, State, Step, Turn, hookimpl, record_logits, rollout_of
from distillkit.noise import fold
from distillkit_dmd.classifier import Guidance, classifier_for, logits_at, logits_beside
from distillkit_dmd.config import Dmd2Config, T
from distillkit_dmd.dmd import MATCHING, Dmd, drawn, grid_sigma


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

    Config = Dmd2Config  # type: ignore[assignment] # in config.py
    config: Dmd2Config

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        self.fake_score = state.copy_of("teacher")
        self.features = self.fake_score if c.features == "fake_score" else state.teacher and state.teacher.network
        seed = fold(state.seed, "classifier", "init")
        self.classifier = classifier_for(state, self.features, c.taps, seed, both=c.shared_pass) if c.gan else None
        if c.rollout is not None:  # one step for all images where the calls before it cost time; else one for each
            how = {"start": c.rollout, "drawn": "batch" if c.rollout == "noise" else "row"}
            self.rollout = rollout_of(state, f'generator_loss.rollout = "{c.rollout}"', **how)
        critics = self.add_critics(state)
        every = c.dfake_gen_update_ratio
        state.turns = [Turn(name="generator", trains=("generator",), losses=("generator_loss",), every=every)]
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

    def guidance_turns(self, critics: tuple[str, ...]) -> list[Turn]:
        """Every iteration; "alternate": all but the generator's."""
        n = self.config.dfake_gen_update_ratio
        every, first = (n, range(1, n)) if self.config.update == "alternate" and n > 1 else (1, range(1))
        return [Turn(name="guidance", trains=critics, every=every, first=i, same_images_as="generator") for i in first]

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
        return logits_beside(self.fake_score, self.classifier, step.x + sigma * n, sigma, step.labels)

    def logits(self, y: Tensor, labels: Tensor | None, sigma: Tensor, n: Tensor) -> Tensor:
        """l(y) [N, taps] of images y [N,C,H,W] with the noise sigma n."""
        return logits_at(self.features, self.classifier, y + sigma * n, sigma, labels)
