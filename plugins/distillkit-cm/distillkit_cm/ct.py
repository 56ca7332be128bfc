"""Consistency training: the same from data alone, on a grid that becomes finer.

f, f', y, n, t, r as in cd.py. Equation numbers are the paper's; letters are ours: (a) and (b) are its schedules N(k)
and mu(k), Appendix C.

    (10)  L  = lambda(t) d(f(y + t n; t), f'(y + r n; r))
    (8)   f' <- mu f' + (1 - mu) f,   after each step
    (a)   N  = ceil(sqrt(p ((s1 + 1)^2 - s0^2) + s0^2) - 1) + 1,   p = k / K, from 0 to 1 the progress of training
    (b)   mu = exp(s0 ln mu0 / (N - 1))

The paper's mu has N in place of N - 1: schedule = "paper". Source: arXiv:2303.01469, Algorithm 3 and Appendix C, in the
form of its authors' code (github.com/openai/consistency_models).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor

from distillkit.api import Denoise, State, Step, field, frozen, ge, gt, in_, lt, optional
from distillkit_cm.pair import Pair, PairConfig


class Ct(Pair):
    """Consistency training: without a teacher, from scratch (arXiv:2303.01469)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        **Pair.recipe_defaults,
        "generator": {**Pair.recipe_defaults["generator"], "init": "scratch"},
    }

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Distance between the student's images of two neighbouring noise levels. The grid becomes "
        "finer as the run goes on, so early and late numbers are of other pairs: a level that says little. Look at "
        "the metrics.",
    }

    @frozen(kw_only=True)
    class Config(PairConfig):
        s0: int = field(default=2, validator=ge(1))  # steps of the grid at the start
        s1: int = field(default=150, validator=ge(2))  # steps of the grid at the end; 200: ImageNet-64
        mu0: float = field(default=0.9, validator=[ge(0), lt(1)])
        """decay of the target at the start; 0.95: ImageNet-64; 0: the target is the student"""
        schedule: str = field(default="code", validator=in_(("code", "paper")))
        """how the target's decay grows: as in the authors' code, or in the paper"""
        schedule_kimg: float | None = field(default=None, validator=optional(gt(0)))
        """images until p = 1; unset: those of the run"""

        @property
        def depends_on_kimg(self) -> bool:
            return self.schedule_kimg is None

    config: Config

    def moves(self) -> bool:
        return self.config.mu0 > 0

    def schedule(self, state: State) -> tuple[int, float]:
        c = self.config
        total = state.total if c.schedule_kimg is None else c.schedule_kimg * 1000
        return adaptive(min(state.nimg / total, 1.0), c.s0, c.s1, c.mu0, c.schedule)

    def step_down(self, x_t: Tensor, t: Tensor, r: Tensor, step: Step, teacher_score: Denoise) -> Tensor:
        """y + r n, as an Euler step of Eq. (6) with the real image in the teacher's place (Theorem 2)."""
        return x_t + (r - t) * (x_t - step.real) / t


def adaptive(progress: float, s0: int, s1: int, mu0: float, form: str = "code") -> tuple[int, float]:
    """N of (a) and mu of (b) at a progress from 0 to 1."""
    steps = max(math.ceil(math.sqrt(progress * ((s1 + 1) ** 2 - s0**2) + s0**2) - 1), 1)
    if not mu0:
        return steps + 1, 0.0
    return steps + 1, math.exp(s0 * math.log(mu0) / (steps if form == "code" else steps + 1))
