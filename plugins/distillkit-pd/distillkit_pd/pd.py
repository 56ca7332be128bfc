"""Progressive distillation: a student takes in one step what its teacher takes in two, and is the next one's teacher.

D is the teacher, f the student, y a real image, n unit noise. S is the number of steps of the student: half of the
first teacher's, `start`, then a half of that and so on, down to `end`. Noise levels are those of the VP cosine, but
0 at u = 0. (A) and (B) are in chain.py.

    (a)  i ~ U{1 ... S};   t, h, s = sigma(u) at u = i / S, (i - 1/2) / S, (i - 1) / S
    (b)  x_t = y + t n;   D_t = D(x_t; t),   D_h = D(x_h; h),   x_h of (A)
    (c)  L = w(t) |f(x_t; t) - D_ts|^2,   D_ts of (B): two steps of DDIM as one;   w = max(1 / t^2, 1)

Sums run over the pixels of one image. 1 / t^2 is the signal-to-noise ratio g / (1 - g), and w the paper's truncated
one. When a stage ends the average of the student's weights is the teacher. The student goes on from its own, with its
optimizer, as in the code (github.com/apple/ml-tract); in the paper it starts from the teacher's.
Source: arXiv:2202.00512, Algorithm 2 and Sec. 4; the letters are ours.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import Denoise, State, Step, field, frozen, ge, hookimpl
from distillkit_pd.chain import Chain, ChainConfig, cosine, ddim, drawn, joined, moved, truncated_snr


class Pd(Chain):
    """Progressive distillation: halves the steps, stage by stage (arXiv:2202.00512)."""

    # At a batch of 128: EMA 0.9995 per iteration.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": ddim(),
        "generator": {
            "optimizer": {"lr": 2e-4, "betas": [0.9, 0.999], "eps": 1e-8, "clip_norm": 1.0},
            "ema": "halflife", "ema_halflife_kimg": 177.4, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    tiny: ClassVar[dict[str, Any]] = {"start": 4}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Squared error of one step against two of the teacher's. Within a stage it falls; it leaps "
        "at the start of the next one, whose steps are twice as long. The last stages' errors are what images have.",
        "chain/steps": "Steps of the student that is being trained: halved from stage to stage.",
    }

    @frozen(kw_only=True)
    class Config(ChainConfig):
        start: int = field(default=1024, validator=ge(2))  # steps of the first teacher
        end: int = field(default=1, validator=ge(1))  # steps of the last student: those of [sample]

        def __attrs_post_init__(self) -> None:
            halvings = (self.start // self.end).bit_length() - 1
            if halvings < 1 or self.start != self.end << halvings:
                raise ValueError(f"'start' {self.start} halved so often does not come to 'end' {self.end}")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        halvings = (config.start // config.end).bit_length() - 1
        self.steps = tuple(config.start >> k for k in range(halvings + 1))

    def grid(self, low: float, high: float) -> Tensor:
        sigma = cosine(low, high, self.steps[0])
        return torch.cat([torch.zeros_like(sigma[:1]), sigma[1:]])

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(c) [N]."""
        half, whole, D = self.at(state, teacher_score)
        i = whole + whole * drawn(step, self.steps[0] // whole)
        t, h, s = self.sigma[i], self.sigma[i - half], self.sigma[i - whole]  # (a)
        x_t = step.real + t * step.randn_like(step.real)
        with torch.no_grad():  # (b)
            D_t = D(x_t, t, step.labels)
            D_h = D(moved(x_t, D_t, t, h), h, step.labels)
        f = state.generator(x_t, t, step.labels)
        return (truncated_snr(t) * (f - joined(D_t, D_h, t, h, s)).square()).flatten(1).sum(1)
