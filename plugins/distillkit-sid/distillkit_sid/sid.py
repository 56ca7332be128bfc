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
With kappa, D_fake is guided: LSG, lsg.py (arXiv:2406.01561). With `distance`, (b) is SIM's, sim.py (arXiv:2410.16794).
With several steps x is what the sampler `few-step` ends with, differentiated through all its steps (as LSG's code), or,
with `rollout`, what a random one of its steps makes.
Source: arXiv:2404.04057, Algorithm 1, in the form of its authors' code (github.com/mingyuanzhou/SiD; EDM2: its sida).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from distillkit.api import Denoise, GeneratorLoss, LogVar, State, Step, UsageError, hookimpl, rollout_of
from distillkit.noise import denoising_loss, rho_grid
from distillkit_sid import lsg
from distillkit_sid.config import SharedConfig, SidConfig
from distillkit_sid.rows import finite_rows
from distillkit_sid.sim import sim_loss
from distillkit_sid.turns import alternating, joint

FAKE_SCORE = (
    "Denoising error of the fake score at generated images: a level that it finds soon and keeps (30 on digits). A "
    "jump says that the student moves faster than the fake score can follow."
)


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
        **dict.fromkeys(("loss/critic", "loss/fake_score"), FAKE_SCORE),
        "dropped_images": "Images of a batch that were left out, since a number of theirs was NaN: 0.",
    }

    Config = SidConfig  # type: ignore[assignment] # in config.py
    config: SharedConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._shared: tuple[Tensor, Tensor, Tensor, Any] | None = None  # from (a) to (b) within one joint turn

    @hookimpl
    def setup(self, state: State) -> None:
        self.add_fake_score(state)
        self._layout = state.layout
        lsg.check(cast(SidConfig, self.config), state)
        state.turns = joint() if self.joint else alternating()

    @property
    def joint(self) -> bool:
        """Whether one turn has both losses."""
        return cast(SidConfig, self.config).shared_forward

    def add_fake_score(self, state: State, clip_value: float | None = None) -> None:
        if (gradient := self.config.rollout) is not None:  # several steps: x is of a random one
            self.rollout = rollout_of(state, f'generator_loss.rollout = "{gradient}"', gradient=gradient)
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
        x_sigma = y + sigma * step.randn_like(y)
        D_fake = self.guided("kappa_critic")(x_sigma, sigma, step.labels, augment_labels)
        return self.fake_score_loss(D_fake, y, sigma, self.expected_error(sigma))

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(b), or SIM's."""
        c = cast(SidConfig, self.config)
        shared, self._shared = self._shared, None
        x, sigma, x_sigma, D_fake = shared or self.noisy_pass(step, self.guided("kappa_generator"))
        D_real = teacher_score(x_sigma, sigma, step.labels)
        u = self.expected_error(sigma).detach()
        (x, D_real, D_fake, u), _ = finite_rows(state, c.drops, x, D_real, D_fake, u)
        w = sid_weight(x, D_real, c.w_min) * u.exp()
        if c.distance is None:
            return c.lsg * sid_loss(x, D_real, D_fake, c.alpha, w).flatten(1).sum(1)
        return c.lsg * sim_loss(x, D_real, D_fake, c.c if c.distance == "huber" else None, w).flatten(1).sum(1)

    def noisy_pass(self, step: Step, network: Callable[..., Any]) -> tuple[Tensor, Tensor, Tensor, Any]:
        """x, sigma, x_sigma of (b) and what the network makes of them."""
        x = step.x.view_as(step.x)  # not the leaf itself: finite_rows() masks the gradient here
        sigma = self.generator_sigma(step)
        x_sigma = x + sigma * step.randn_like(x)
        return x, sigma, x_sigma, network(x_sigma, sigma, step.labels)

    def guided(self, key: str) -> Callable[..., Tensor]:
        """The fake score, guided by the kappa of this key."""
        kappa: float = getattr(self.config, key)
        return self.fake_score if kappa == 1 else lsg.guided(self.fake_score, self._layout, kappa)

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


def sid_weight(x: Tensor, D_real: Tensor, w_min: float) -> Tensor:
    """(c): w [N,1,1,1] of x, D_real [N,C,H,W]."""
    return (x - D_real).detach().abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=w_min)


def sid_loss(x: Tensor, D_real: Tensor, D_fake: Tensor, alpha: float, w: Tensor) -> Tensor:
    """(b) per pixel, without lsg [N,C,H,W], of x, D_real, D_fake [N,C,H,W] and w [N,1,1,1]."""
    gap = D_real - D_fake
    return gap * ((D_real - x) - alpha * gap) / w
