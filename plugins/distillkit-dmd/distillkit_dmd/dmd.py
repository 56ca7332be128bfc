"""DMD: descend the KL divergence of generated and real images along the difference of two scores.

theta is the generator G, mu_base the teacher, mu_fake the fake score. In EDM's variance-exploding form alpha_t = 1 and
x_t = x + sigma_t n; D_real = mu_base(x_t, t), D_fake = mu_fake(x_t, t). Equation numbers are the paper's.

    (4)  s_real = -(x_t - D_real) / sigma_t^2
    (5)  s_fake = -(x_t - D_fake) / sigma_t^2
    (6)  L_denoise  = lambda(sigma_t) mean (D_fake - x)^2,      t ~ U{0 ... T-1}
    (7)  grad_theta = E w_t (s_fake - s_real) dG/dtheta,        t ~ U{T_min T ... T_max T}
    (8)  w_t = sigma_t^2 C S / ||D_real - x||_1                 C S: values per image
    (9)  L_reg = E l(G(z), y)                                   the auxiliary loss `regression`, with weight lambda_reg

With (8), (7) is the gradient at x of mean (x - stop(x - g))^2 / 2, up to 1 / (C S): g = (D_fake - D_real) /
mean |x - D_real|. sigma_t is point t of EDM's grid of T = 1000 levels, 0.002 at t = 0 and 80 at t = 999.
Source: arXiv:2311.18828, Algorithm 1; where it is silent, its authors' code for DMD2 (github.com/tianweiy/DMD2).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import Denoise, GeneratorLoss, State, Step, Turn, field, frozen, ge, gt, hookimpl
from distillkit.noise import denoising_loss, rho_grid
from distillkit_dmd.config import NoiseConfig, SharedConfig, T

MATCHING = (
    "Half the squared difference of both scores, in units of the denoising error. It is 0 at first, where the fake "
    "score is the teacher, rises as that learns the student (on digits to 0.3), then falls slowly (to 0.1). One "
    "that stays at 0 has no gradient: look whether the fake score learns."
)


class Dmd(GeneratorLoss):
    """Distribution matching distillation; the paper adds `regression` to it (arXiv:2311.18828)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "one-step", "sigma_init": 80.0},
        "generator": {
            "optimizer": {
                "name": "adamw", "lr": 5e-5, "betas": [0.9, 0.999], "weight_decay": 0.01, "clip_norm": 10.0,
                "warmup_kimg": 196.0,
            },
            "dropout": 0.0, "ema": "none",
        },
    }  # fmt: skip

    tiny = {"warmup_kimg": 0.0}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": MATCHING,
        "loss/fake_score": "Denoising error of the fake score at generated images: a level, after it has caught up "
        "with the student (on digits it falls to 0.35, then rises to 0.6 as images gain detail). A jump says that "
        "the student moves faster than the fake score can follow.",
    }

    @frozen(kw_only=True)
    class Config(SharedConfig):
        lr: float = field(default=5e-5, validator=gt(0))
        """learning rate of the fake score; 2e-6: ImageNet; 1e-5: CIFAR-10 without regression"""
        warmup_kimg: float = field(default=196.0, validator=ge(0))
        """images in which lr rises linearly from 0; published: 500 steps of 392"""

    config: SharedConfig

    @hookimpl
    def setup(self, state: State) -> None:
        self.fake_score = state.add_network("fake_score", "teacher", self.config.optimizer())
        state.turns = [
            Turn(name="generator", trains=("generator",), losses=("generator_loss",)),
            Turn(name="fake_score", trains=("fake_score",), same_images_as="generator"),
        ]

    @hookimpl
    def critic_loss(self, step: Step) -> Tensor:
        """Eq. (6)."""
        return self.denoising_loss(step, *drawn(step, grid_sigma(step, 0, T - 1)))

    @hookimpl
    def generator_loss(self, step: Step, teacher_score: Denoise) -> Tensor:
        """Eq. (7)."""
        return self.matching_loss(step, *drawn(step, self.generator_sigma(step)), teacher_score)

    def denoising_loss(self, step: Step, sigma: Tensor, n: Tensor) -> Tensor:
        """Eq. (6) [N] at noise level sigma [N,1,1,1], n [N,C,H,W]."""
        self.fake_score.eval()  # dropout is off in DMD
        return self.error(step, self.fake_score(step.x + sigma * n, sigma, step.labels), sigma)

    def error(self, step: Step, D_fake: Tensor, sigma: Tensor) -> Tensor:
        """Eq. (6) [N] of images denoised, D_fake [N,C,H,W]."""
        weight = self.config.fake_weight
        loss = denoising_loss(D_fake, step.x, sigma) if weight == "edm" else (D_fake - step.x) ** 2
        loss = loss / sigma**2 if weight == "eps" else loss
        return loss.flatten(1).mean(1)

    def matching_loss(
        self, step: Step, sigma: Tensor, n: Tensor, teacher_score: Denoise, D_fake: Tensor | None = None
    ) -> Tensor:
        """[N], whose gradient at x is that of Eq. (7) over C S, at noise level sigma [N,1,1,1], n [N,C,H,W].

        `D_fake`: of x + sigma n, if there is one already.
        """
        with torch.no_grad():
            x_t = step.x + sigma * n
            D_fake = self.fake_score(x_t, sigma, step.labels) if D_fake is None else D_fake.detach()
            D_real = teacher_score(x_t, sigma, step.labels)
            g = matching_gradient(step.x, D_real, D_fake)
        return 0.5 * ((step.x - (step.x - g).detach()) ** 2).flatten(1).mean(1)

    def generator_sigma(self, step: Step) -> Tensor:
        """Noise level of Eq. (7) [N,1,1,1]."""
        return matching_sigma(step, self.config)


def matching_sigma(step: Step, c: NoiseConfig) -> Tensor:
    """Noise level of Eq. (7) [N,1,1,1], by its keys."""
    if c.noise == "lognormal":
        return step.lognormal_sigma(c.G_P_mean, c.G_P_std)
    return grid_sigma(step, int(c.T_min * T), min(int(c.T_max * T), T - 1))


def grid_sigma(step: Step, first: int, last: int) -> Tensor:
    """sigma_t [N,1,1,1] for t ~ U{first ... last}."""
    t = (first + step.uniform(0.0, last - first + 1.0).floor()).clamp(max=last)
    return rho_grid(1 - t / (T - 1))


def drawn(step: Step, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Noise levels sigma [N,1,1,1] and the noise [N,C,H,W] that comes with them."""
    return sigma, step.randn_like(step.x)


def matching_gradient(x: Tensor, D_real: Tensor, D_fake: Tensor) -> Tensor:
    """w_t (s_fake - s_real) of Eq. (4), (5) and (8), of x, D_real, D_fake [N,C,H,W]."""
    return (D_fake - D_real) / (x - D_real).abs().mean(dim=(1, 2, 3), keepdim=True)
