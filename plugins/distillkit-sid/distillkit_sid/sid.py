"""SiD: a fake score follows the generator, and the generator closes the gap between fake and teacher score.

theta is the generator, phi the teacher, psi the fake score; D_real = D_phi(x_sigma), D_fake = D_psi(x_sigma) denoise
x_sigma = x + sigma n, with generated images x and unit noise n: the paper's f_phi, f_psi, x_t and x_g. Sums run over
the pixels of one image.

    (a)  L_psi   = ls lambda(sigma) sum (D_fake - x)^2,   ln sigma ~ N(P_mean, P_std^2)
    (b)  L_theta = lsg sum (D_real - D_fake) ((D_real - x) - alpha (D_real - D_fake)) / w
    (c)  w       = max(mean |x - D_real|, w_min), without gradient
    (d)  sigma of (b) = rho_grid(1 - u),  u ~ U(0, tmax / 1000)

(a) and (b) are the two updates of Algorithm 1. (b) is L_theta^(2) - alpha L_theta^(1) of Sec. 4, where L^(1) is the
squared difference of the scores, L^(2) its projected form, and 1 / w = omega(t) / sigma_t^4. The letters are ours.
(b) is differentiated through D_real, D_fake and x; psi's and phi's weights are constants in it. With `logvar`, and
v = exp(u_psi(sigma)) the error that an EDM2 network expects of itself, lambda / v stands for lambda, w v for w, and
(a) has + ls sum ln v (arXiv:2312.02696, Eq. (21)).
With kappa, D_fake is guided (long and short guidance, arXiv:2406.01561): in (a) by kappa_1, in (b) by kappa_2, which
is kappa_3 too, and kappa_4 is the scale of the teacher's guidance; published: all 1.5 to 4.5, alike, with alpha = 1.
With `distance`, (b) is that of SIM, sim.py (arXiv:2410.16794).
With several steps x is what the sampler `few-step` ends with, differentiated through all its steps (as LSG's code), or,
with `rollout`, what a random one of its steps makes.
Source: arXiv:2404.04057, Algorithm 1, in the form of its authors' code (github.com/mingyuanzhou/SiD; EDM2: its branch
sida, `return_logvar`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from distillkit.api import (
    Denoise,
    GeneratorLoss,
    LogVar,
    State,
    Step,
    Turn,
    UsageError,
    added_later,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    optional,
    rollout_of,
)
from distillkit.noise import denoising_loss, rho_grid
from distillkit_sid.config import SharedConfig
from distillkit_sid.sim import of_sim, sim_loss

FAKE_SCORE = (
    "Denoising error of the fake score at generated images: a level that it finds soon and keeps (30 on digits). A "
    "jump says that the student moves faster than the fake score can follow."
)


def no_augment(instance: Any, attribute: Any, value: bool) -> None:
    if value and instance.augment is not None:
        raise ValueError("'shared_forward' needs un-augmented images: take out [generator_loss.augment]")


class Sid(GeneratorLoss):
    """Score identity distillation: data-free, through both scores (arXiv:2404.04057)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "one-step", "sigma_init": 2.5},
        "generator": {
            "optimizer": {"name": "adam", "lr": 1e-5, "betas": [0.0, 0.999], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 500.0,
        },
    }  # fmt: skip

    tiny = {"warmup_kimg": 0.0}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "The gap between teacher and fake score at generated images, negative once the fake score "
        "follows. It moves away from 0 early on, then back towards it as the student settles (on digits to -145, "
        "then -30). Its level is no measure of quality.",
        "loss/critic": FAKE_SCORE,
        "loss/fake_score": FAKE_SCORE,
        "dropped_images": "Images of a batch that were left out, since a number of theirs was NaN: 0.",
    }

    @frozen(kw_only=True)
    class Config(SharedConfig):
        # One turn in which (a) reuses the x, sigma and D_fake of (b): 9 forward passes' worth of work instead of 11.
        # The fake score is then in training mode in (b) as well (dropout), and sees no fresh images of its own.
        shared_forward: bool = field(default=False, validator=no_augment)
        """one turn for both losses, on the same images: 9 passes of work instead of 11, and other dropout"""

        kappa_critic: float = field(default=1.0, validator=ge(0), metadata=added_later(as_before=1.0))
        """guidance of the fake score while it trains (LSG's kappa_1); 1: none; above 1 a pass more"""
        kappa_generator: float = field(default=1.0, validator=ge(0), metadata=added_later(as_before=1.0))
        """guidance of the fake score in the generator's loss (LSG's kappa_2); 1: none; above 1 a pass more"""
        distance: str | None = field(default=None, validator=[optional(in_(("l2", "huber"))), of_sim])
        """of the two scores, with alpha = 1: SIM's loss, which publishes "huber"; unset: SiD's own"""
        c: float = field(default=0.00054, validator=gt(0), metadata=added_later(as_before=0.00054))
        """distance "huber": gaps below c, per root of an image's values, count as in "l2", larger ones all alike"""

    config: SharedConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._shared: tuple[Tensor, Tensor, Tensor, Any] | None = None  # from (a) to (b) within one joint turn

    @hookimpl
    def setup(self, state: State) -> None:
        self.add_fake_score(state)
        self._layout = state.layout
        c = self.config
        if isinstance(c, Sid.Config) and (c.kappa_critic, c.kappa_generator) != (1, 1):
            if not state.dataset.label_dim:
                raise UsageError("generator_loss: kappa is guidance of the fake score by labels, and there are none")
            if self.joint and c.kappa_critic != c.kappa_generator:
                raise UsageError("generator_loss: shared_forward makes one pass for both losses: give one kappa twice")
        state.turns = joint() if self.joint else alternating()

    def add_rollout(self, state: State) -> None:
        """Several steps, with `rollout`: x is then of a random one."""
        if (gradient := self.config.rollout) is not None:
            self.rollout = rollout_of(state, f'generator_loss.rollout = "{gradient}"', gradient=gradient)

    @property
    def joint(self) -> bool:
        """Whether one turn has both losses."""
        return isinstance(self.config, Sid.Config) and self.config.shared_forward

    def add_fake_score(self, state: State, clip_value: float | None = None) -> None:
        self.add_rollout(state)
        self.fake_score = state.add_network("fake_score", "teacher", self.config.optimizer(clip_value))
        psi = self.fake_score
        if self.config.logvar and not (isinstance(psi, LogVar) and psi.logvar_channels):
            raise UsageError("generator_loss.logvar needs a network that estimates its error: one of EDM2, with logvar")
        self.augment = self.config.augment and self.config.augment.build()

    @hookimpl
    def critic_loss(self, step: Step) -> Tensor:
        """(a)."""
        c = self.config
        if self.joint:
            self._shared = x, sigma, _, D_fake = self.noisy_pass(step, self.guided("kappa_critic"))
            return self.fake_score_loss(D_fake, x.detach(), sigma, self.expected_error(sigma))
        sigma = step.lognormal_sigma(c.P_mean, c.P_std)
        y, augment_labels = self.augmented(step.x, step)
        fake_score = self.guided("kappa_critic")
        D_fake = fake_score(y + sigma * step.randn_like(y), sigma, step.labels, augment_labels)
        return self.fake_score_loss(D_fake, y, sigma, self.expected_error(sigma))

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(b), or SIM's."""
        c = self.config
        shared, self._shared = self._shared, None
        x, sigma, x_sigma, D_fake = shared or self.noisy_pass(step, self.guided("kappa_generator"))
        D_real = teacher_score(x_sigma, sigma, step.labels)
        u = self.expected_error(sigma).detach()
        (x, D_real, D_fake, u), _ = self.finite_rows(state, x, D_real, D_fake, u)
        w = sid_weight(x, D_real, c.w_min) * u.exp()
        return c.lsg * self.gap(x, D_real, D_fake, w).flatten(1).sum(1)

    def gap(self, x: Tensor, D_real: Tensor, D_fake: Tensor, w: Tensor) -> Tensor:
        """(b) or SIM's, without lsg [N,C,H,W]."""
        c = self.config
        if not isinstance(c, Sid.Config) or c.distance is None:
            return sid_loss(x, D_real, D_fake, c.alpha, w)
        return sim_loss(x, D_real, D_fake, c.c if c.distance == "huber" else None, w)

    def noisy_pass(self, step: Step, network: Callable[..., Any]) -> tuple[Tensor, Tensor, Tensor, Any]:
        """x, sigma, x_sigma of (b) and what the network makes of them."""
        x = step.x.view_as(step.x)  # not the leaf itself: finite_rows() masks the gradient here
        sigma = self.generator_sigma(step)
        x_sigma = x + sigma * step.randn_like(x)
        return x, sigma, x_sigma, network(x_sigma, sigma, step.labels)

    def guided(self, key: str) -> Callable[..., Tensor]:
        """The fake score, guided by the kappa of this key: away from itself without labels."""
        kappa: float = getattr(self.config, key, 1.0)

        def denoise(x: Tensor, sigma: Tensor, labels: Tensor | None, augment_labels: Tensor | None = None) -> Tensor:
            D0 = self.fake_score(
                x, sigma, None if labels is None else self._layout.without_words(labels), augment_labels
            )
            return D0.lerp(self.fake_score(x, sigma, labels, augment_labels), kappa)

        return self.fake_score if kappa == 1 else denoise

    def fake_score_loss(self, D: Tensor, y: Tensor, sigma: Tensor, u: Tensor) -> Tensor:
        """(a) [N], of clean images y and their denoised D [N,C,H,W], sigma and u = ln v [N,1,1,1]."""
        return self.config.ls * denoising_loss(D, y, sigma, u=u).flatten(1).sum(1)

    def expected_error(self, sigma: Tensor) -> Tensor:
        """u = ln v [N,1,1,1] of sigma [N,1,1,1]; 0 without `logvar`."""
        return cast(LogVar, self.fake_score).logvar(sigma) if self.config.logvar else torch.zeros_like(sigma)

    def generator_sigma(self, step: Step) -> Tensor:
        """Noise level of the generator's loss [N,1,1,1]: (d), or log-normal."""
        c = self.config
        if c.noise == "lognormal":
            return step.lognormal_sigma(c.G_P_mean, c.G_P_std)
        return rho_grid(1 - step.uniform(0.0, c.tmax / 1000))

    def augmented(self, x: Tensor, step: Step) -> tuple[Tensor, Tensor | None]:
        return self.augment(x, step) if self.augment else (x, None)

    def finite_rows(self, state: State, x: Tensor, *outputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """The same tensors and keep [N]; "drop" zeroes each row that has a NaN in any, and its gradient at x."""
        keep = torch.ones(len(x), dtype=torch.bool, device=x.device)
        if self.config.nonfinite_images == "refuse":
            return [x, *outputs], keep
        for t in (x, *outputs):
            keep &= ~t.isnan().flatten(1).any(1)
        state.record("dropped_images", (~keep).sum() * (state.batch / len(x)))  # of a batch, of which this is a part
        rows = (~keep).view(-1, 1, 1, 1)
        if x.requires_grad:  # the networks' derivatives may be NaN there, and 0 * NaN is NaN
            x.register_hook(lambda grad: grad.masked_fill(rows, 0))
        return [t.masked_fill(rows, 0) for t in (x, *outputs)], keep


def joint(generator_after_kimg: float = 0.0) -> list[Turn]:
    """One turn for both, on the same images; up to the gate the fake score's alone."""
    alone = Turn(name="fake_score", trains=("fake_score",), losses=("critic_loss",), stop_kimg=generator_after_kimg)
    both = Turn(
        name="joint", trains=("fake_score", "generator"), losses=("critic_loss", "generator_loss"),
        start_kimg=generator_after_kimg,
    )  # fmt: skip
    return [alone, both] if generator_after_kimg else [both]


def alternating(generator_after_kimg: float = 0.0) -> list[Turn]:
    """The fake score's turn, then the generator's, on images of their own."""
    return [
        Turn(name="fake_score", trains=("fake_score",), losses=("critic_loss",)),
        Turn(name="generator", trains=("generator",), losses=("generator_loss",), start_kimg=generator_after_kimg),
    ]


def sid_weight(x: Tensor, D_real: Tensor, w_min: float) -> Tensor:
    """(c): w [N,1,1,1] of x, D_real [N,C,H,W]."""
    return (x - D_real).detach().abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=w_min)


def sid_loss(x: Tensor, D_real: Tensor, D_fake: Tensor, alpha: float, w: Tensor) -> Tensor:
    """(b) per pixel, without lsg [N,C,H,W], of x, D_real, D_fake [N,C,H,W] and w [N,1,1,1]."""
    gap = D_real - D_fake
    return gap * ((D_real - x) - alpha * gap) / w
