"""What CD and CT share: two points of one trajectory, the student at one, its slow copy at the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distillkit.api import (
    Choice,
    Denoise,
    Denoiser,
    Embedding,
    GeneratorLoss,
    State,
    Step,
    and_,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    le,
)
from distillkit.distances import DISTANCES, distance, wants_features
from distillkit.noise import RHO, SIGMA_MAX, SIGMA_MIN, masks_kept, rho_grid
from distillkit_cm.weights import WEIGHTS, weight


@frozen(kw_only=True)
class PairConfig:
    distance: str = field(default="l2", validator=in_(DISTANCES))  # between two images; published: lpips
    features: Choice[Embedding] | None = field(default=None, validator=wants_features)
    """network of the distance "lpips", such as lpips-vgg16"""
    huber_c: float = field(default=0.03, validator=ge(0))
    """distance "huber": its width; arXiv:2310.14189 has 0.00054 sqrt(C H W)"""
    weight: str = field(default="uniform", validator=in_(WEIGHTS))
    """of each noise level, lambda(t); "step": 1 / (t - r)"""
    sigma_min: float = field(default=SIGMA_MIN, validator=gt(0))
    """lowest noise level, epsilon, where the student is the identity"""
    sigma_max: float = field(default=SIGMA_MAX, validator=gt(0))  # highest noise level of the grid, T
    rho: float = field(default=RHO, validator=and_(ge(0.1), le(100.0)))
    """bend of the grid: larger, more steps at low noise"""
    sigma_data: float = field(default=0.5, validator=gt(0))  # as in the network; in weight = "karras"


class Pair(GeneratorLoss):
    """Consistency of the student with its slow copy, the target, one step down the same trajectory."""

    # RAdam of arXiv:2303.01469's CIFAR-10 runs at a batch of 512; EMA 0.9999 per iteration there.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "few-step", "sigmas": [SIGMA_MAX]},
        "generator": {
            "optimizer": {"name": "radam", "lr": 4e-4, "betas": [0.9, 0.999], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 3550.0, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    config: PairConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.target: Denoiser | None = None  # None: the student itself
        self.phi: nn.Module | None = None  # features of "lpips"

    @property
    def network_keys(self) -> dict[str, Any]:
        return {"preconditioning": "consistency", "boundary": self.config.sigma_min}

    def schedule(self, state: State) -> tuple[int, float]:
        """N, the points of the grid, and mu, the share of the target that stays in Eq. (8)."""
        raise NotImplementedError

    def step_down(self, x_t: Tensor, t: Tensor, r: Tensor, step: Step, teacher_score: Denoise) -> Tensor:
        """The point at noise level r of the trajectory through x_t [N,C,H,W] at t."""
        raise NotImplementedError

    @hookimpl
    def setup(self, state: State) -> None:
        if self.config.features is not None:
            self.phi = state.embedding(self.config.features)
        if self.moves():
            self.target = state.add_copy("target", average=lambda: self.schedule(state)[1])  # Eq. (8)
            self.target.train()  # dropout, with equal masks

    def moves(self) -> bool:
        """Whether the target is another network than the student."""
        raise NotImplementedError

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """Eq. (7), in CT (10) [N]."""
        c = self.config
        N, _ = self.schedule(state)
        i = (step.rand(1, 1, 1) * (N - 1)).floor().clamp(max=N - 2)
        t, r = (rho_grid(j / (N - 1), c.sigma_min, c.sigma_max, c.rho) for j in (i, i + 1))
        x_t = step.real + t * step.randn_like(step.real)
        with torch.no_grad():
            x_r = self.step_down(x_t, t, r, step, teacher_score)
        f, target = twice(state.generator, self.target or state.generator, (x_t, t), (x_r, r), step.labels)
        return weight(c.weight, t, r, c.sigma_data) * distance(c.distance, f, target, c.huber_c, self.phi)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        old = {name.removeprefix("target."): p for name, p in state.items() if name.startswith("target.")}
        if self.target is not None and old:  # checkpoints of 0.1, where the target was no copy of the engine's
            self.target.load_state_dict(old)
            return
        super().load_state_dict(state)


def twice(
    student: Denoiser, target: Callable[..., Tensor], at_t: tuple[Tensor, Tensor], at_r: tuple[Tensor, Tensor],
    labels: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """student(x_t, t) and, without gradient, target(x_r, r), each [N,C,H,W], with the same dropout masks."""
    with masks_kept(at_t[0].device):
        f = student(*at_t, labels)
    with torch.no_grad():
        return f, target(*at_r, labels)
