"""What PD and TRACT share: a chain of students in one run, each of which takes fewer steps than the one before.

A step from x at noise level t down to r, where D says that x comes from the image D, ends in

    (A)  x_r = D + (r / t) (x - D)

which is DDIM's: with z = x / sqrt(1 + t^2), g = 1 / (1 + t^2) it is sqrt(g_r) D + sqrt((1 - g_r) / (1 - g_t)) (z -
sqrt(g_t) D) for z_r. A step t -> r with D_t and one r -> s with D_r together are one step t -> s with

    (B)  D_ts = l D_r + (1 - l) D_t,   l = (1 - s / r) / (1 - s / t)

which is the papers' (x_s - (s / t) x) / (1 - s / t), solved, so that no small difference is divided by another; l = 1
where s = 0: the last image itself. Source: arXiv:2202.00512, Algorithm 2, and arXiv:2303.04248, Algorithm 1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from distillkit.api import (
    Choice,
    Denoise,
    Denoiser,
    GeneratorLoss,
    Sample,
    State,
    Step,
    UsageError,
    asked_levels,
    field,
    frozen,
    gt,
    hookimpl,
)
from distillkit.convert import CosineLogSnr

LOWEST, HIGHEST = 4.54e-5, 22026.5  # noise levels e^-10, e^10: logsnr 20, -20


@frozen(kw_only=True)
class ChainConfig:
    sigma_min: float = field(default=LOWEST, validator=gt(0))
    """lowest noise level of the grid, where logsnr is 20; raised to the student's own"""
    sigma_max: float = field(default=HIGHEST, validator=gt(0))
    """highest noise level, where logsnr is -20; lowered to the student's own"""

    @property
    def depends_on_kimg(self) -> bool:
        return True  # stages are equal parts of the run


class Chain(GeneratorLoss):
    """Stage k of n: the student learns to take steps[k + 1] steps where its teacher takes steps[k]."""

    config: ChainConfig
    steps: tuple[int, ...]  # of the teacher, and of each student after it

    def grid(self, low: float, high: float) -> Tensor:
        """Noise levels of steps[0] steps, rising, and before them where the last one ends: float64 [steps[0] + 1]."""
        raise NotImplementedError

    @hookimpl
    def setup(self, state: State) -> None:
        """The grid, and a copy of the student's average that becomes the teacher where a stage ends."""
        c, stages = self.config, len(self.steps) - 1
        if state.teacher is None:
            raise UsageError("[generator_loss] distills a teacher: the recipe needs a [teacher_score] table")
        if state.total < stages * state.batch:
            raise UsageError(f"run.kimg: {state.total // state.batch} iterations are too few for {stages} stages")
        if (nfe := state.recipe.sample.build().nfe) != self.steps[-1]:
            raise UsageError(f"sample: {nfe} calls, but the last student of the chain takes {self.steps[-1]} steps")
        low, high = max(c.sigma_min, state.generator.sigma_min), min(c.sigma_max, state.generator.sigma_max)
        if not low < high:
            raise UsageError(f"sigma_min, sigma_max: no noise levels from {low:g} to {high:g}, which the student knows")
        fits(state.recipe.sample, low, high, state.generator)
        self.check_listed(state, sigma := self.grid(low, high))
        self.sigma = sigma.to(state.device, state.dtype)
        self.former: Denoiser | None = None  # a student of an earlier stage; the first one's teacher is the recipe's
        if stages > 1:
            self.former = state.add_copy("former", of="average", average=lambda: self.stays(state))

    def check_listed(self, state: State, sigma: Tensor) -> None:
        """Raises UsageError for several steps from a list of levels that are not the last student's."""
        S = self.steps[-1]
        if S == 1 or not getattr(state.recipe.sample.config, "sigmas", ()):
            return
        taught = sigma[1:][self.steps[0] // S - 1 :: self.steps[0] // S].flip(0)
        asked = torch.tensor(asked_levels(state), dtype=taught.dtype)
        if len(asked) != S or not asked.allclose(taught, rtol=1e-3):
            told = ", ".join(f"{level:.4g}" for level in taught.tolist())
            raise UsageError(f"sample.sigmas: the last student of the chain takes its steps from [{told}]")

    def stage(self, nimg: int, total: int) -> int:
        """From 0 to the number of students - 1: equal parts of the run."""
        stages = len(self.steps) - 1
        return min(nimg * stages // total, stages - 1)

    def stays(self, state: State) -> float:
        """0 after the last iteration of a stage: then the student's average is the next one's teacher; else 1."""
        now, then = (self.stage(nimg, state.total) for nimg in (state.nimg, state.nimg + state.batch))
        return float(now == then)

    def at(self, state: State, teacher_score: Denoise) -> tuple[int, int, Denoise]:
        """How many points of the grid one step of the teacher is, and one of the student; and the teacher."""
        k = self.stage(state.nimg, state.total)
        state.record("chain/steps", self.steps[k + 1])
        T = self.steps[0]
        return T // self.steps[k], T // self.steps[k + 1], self.former if k and self.former else teacher_score


def fits(sampler: Choice[Sample], low: float, high: float, student: Denoiser) -> None:
    """Raises UsageError for steps of a grid between other levels than low and high: nobody taught them."""
    c = sampler.config
    if not hasattr(c, "grid") or c.sigmas:
        return
    asked = max(c.sigma_min, student.sigma_min), min(c.sigma_max, student.sigma_max)
    if asked[1] != high or (c.steps > 1 and (asked[0] != low or c.grid != "cosine")):
        raise UsageError(
            f'sample: steps from {asked[1]:g} to {asked[0]:g}, grid "{c.grid}", but the chain has {high:g} to {low:g}, '
            '"cosine": give [sample] and [generator_loss] the same sigma_min and sigma_max'
        )


def drawn(step: Step, n: int) -> Tensor:
    """Whole numbers [N,1,1,1], 0 ... n - 1 alike."""
    return (step.rand(1, 1, 1) * n).long().clamp(max=n - 1)


def moved(x: Tensor, D: Tensor, t: Tensor, r: Tensor) -> Tensor:
    """(A) [N,C,H,W]."""
    return D + (r / t) * (x - D)


def joined(D_t: Tensor, D_r: Tensor, t: Tensor, r: Tensor, s: Tensor) -> Tensor:
    """(B) [N,C,H,W]."""
    return D_t + (1 - s / r) / (1 - s / t) * (D_r - D_t)


def cosine(low: float, high: float, steps: int) -> Tensor:
    """Levels low ... high of the VP cosine, ln(g / (1 - g)) = -2 ln tan(a u + b), even in u: float64 [steps + 1]."""
    schedule = CosineLogSnr(logsnr_min=-2 * math.log(high), logsnr_max=-2 * math.log(low))
    return schedule.sigma(torch.linspace(0, 1, steps + 1, dtype=torch.float64, device="cpu"))


def truncated_snr(t: Tensor) -> Tensor:
    """max(g / (1 - g), 1) [N,1,1,1]: errors of the image and of the noise, whichever is larger."""
    return (t**-2).clamp(min=1)


def ddim(**more: Any) -> dict[str, Any]:
    """[sample] of both: the steps that the last student learned, images clamped in each."""
    return {
        "use": "ddim", "steps": 1, "grid": "cosine", "sigma_min": LOWEST, "sigma_max": HIGHEST, "clamp": True, **more,
    }  # fmt: skip
