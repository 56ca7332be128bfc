"""TRACT: a student steps over a group of its teacher's steps at once, one of the teacher's and the rest its own.

D is the teacher, f the student, f' its fast average, the self-teacher; y a real image, n unit noise. `schedule` is the
steps of the teacher and of each student after it, such as 1024, 32, 1. Its grid of T = schedule[0] points is cut into
groups, one a step of the student; s is the level where t's group ends. (A) and (B) are in chain.py.

    (a)  t is any point of any group, r the one after it by a step of the teacher, x_t = y + t n
    (b)  x_r = x_t moved by the teacher to r: by DDIM (A), D_t = D(x_t; t), in "edm" by Heun, as if D had said
                 D_t = D(x_t; t) + (t / 2r) (D(x'; r) - D(x_t; t)),   x' of (A)
    (c)  D_ts of (B), D_r = f'(x_r; r): the self-teacher goes from r to the end s; D_ts = D_t where r is s
    (d)  L = w(t) |f(x_t; t) - D_ts|^2
    (e)  f' <- mu f' + (1 - mu) f,   after each step

form = "vp": the grid is the VP cosine's, w = max(1 / t^2, 1), the sum over pixels. form = "edm": EDM's grid, rho 7,
with 0 under it, w = (t^2 + sd^2) / (t sd)^2, 1 in what the network predicts, the mean over pixels. D of a step of (A)
is clamped to [-1,1], Heun's is not. When a phase ends the average of the student's weights is the teacher, by DDIM.
Source: arXiv:2303.04248, Algorithm 1, in the form of its authors' code (github.com/apple/ml-tract);
the letters are ours.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import (
    Denoise,
    State,
    Step,
    deep_iterable,
    field,
    frozen,
    ge,
    hookimpl,
    in_,
    le,
    min_len,
)
from distillkit.noise import RHO, edm_weight, rho_grid
from distillkit_pd.chain import Chain, ChainConfig, cosine, ddim, drawn, joined, moved, truncated_snr


class Tract(Chain):
    """TRACT: few phases, in which the student teaches itself (arXiv:2303.04248)."""

    # Its average keeps 1e-3 of a phase's start at its end: the half-life is a tenth of a phase, 48 Mimg at 96 Mimg.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": ddim(),
        "generator": {
            "optimizer": {"lr": 2e-4, "betas": [0.9, 0.999], "eps": 1e-8, "clip_norm": 1.0},
            "ema": "halflife", "ema_halflife_kimg": 4816.0, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    tiny: ClassVar[dict[str, Any]] = {"schedule": (4, 2, 1)}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Squared error of one step against the teacher's step and the self-teacher's. It is of a "
        "moving target: a level that says little, and another one in each phase. Look at the metrics.",
        "chain/steps": "Steps of the student that is being trained: fewer from phase to phase.",
    }

    @frozen(kw_only=True)
    class Config(ChainConfig):
        schedule: tuple[int, ...] = field(default=(1024, 32, 1), validator=[min_len(2), deep_iterable(ge(1))])
        """steps of the teacher, and of each student after it; the last are those of [sample]; "edm": (40, 1)"""
        form: str = field(default="vp", validator=in_(("vp", "edm")))
        """grid, weight and the teacher's steps: of VP teachers by DDIM, or EDM's by Heun's method"""
        mu: float = field(default=0.5, validator=[ge(0), le(1)])  # share of the self-teacher that stays per iteration
        clamp: bool = True  # clamp the images of DDIM's steps to [-1,1]; false for latents

        def __attrs_post_init__(self) -> None:
            if any(a <= b or a % b or self.schedule[0] % a for a, b in pairwise(self.schedule)):
                raise ValueError(f"'schedule' must fall, each number a part of those before it: {list(self.schedule)}")

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.steps = config.schedule

    def grid(self, low: float, high: float) -> Tensor:
        T = self.steps[0]
        if self.config.form == "vp":
            return cosine(low, high, T)
        sigma = rho_grid(torch.linspace(1, 0, T, dtype=torch.float64, device="cpu"), low, high, RHO)
        return torch.cat([torch.zeros_like(sigma[:1]), sigma])

    @hookimpl
    def setup(self, state: State) -> None:
        super().setup(state)
        self.self_teacher = state.add_copy("self_teacher", average=lambda: self.config.mu)  # (e)

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(d) [N]."""
        c, (one, group, D) = self.config, self.at(state, teacher_score)
        end = group * drawn(step, self.steps[0] // group)
        i = end + group - one * drawn(step, group // one)
        last = i - one == end
        t, r, s = self.sigma[i], self.sigma[(i - one).clamp(min=one)], self.sigma[end]  # no network is asked at 0
        x_t = step.real + t * step.randn_like(step.real)
        with torch.no_grad():
            D_t = D(x_t, t, step.labels)
            if D is teacher_score and c.form == "edm":  # (b)
                D_t = D_t + t / (2 * r) * (D(moved(x_t, D_t, t, r), r, step.labels) - D_t)
            else:
                D_t = self.within(D_t)
            D_r = self.within(self.self_teacher(moved(x_t, D_t, t, r), r, step.labels))
            target = torch.where(last, D_t, joined(D_t, D_r, t, r, s))  # (c)
        error = (state.generator(x_t, t, step.labels) - target).square().flatten(1)
        vp = c.form == "vp"
        return truncated_snr(t).flatten() * error.sum(1) if vp else edm_weight(t).flatten() * error.mean(1)

    def within(self, D: Tensor) -> Tensor:
        return D.clamp(-1, 1) if self.config.clamp else D
