"""Consistency distillation: the student maps every point of a teacher's trajectory to the trajectory's end.

f is the student, f' its slow copy, the target; D the teacher; y a real image, n unit noise; t and r neighbours on the
grid, sigma_i and sigma_(i+1) for i ~ U{0 ... N-2}. The grid falls from T = sigma_max to epsilon = sigma_min by rho = 7
in N points. Equation numbers are the paper's; its letters for f, f', y, n, t, r are f_theta, f_theta^-, x, z, t_(n+1),
t_n.

    (5)  f(x; t) = c_skip(t) x + c_out(t) F(x; t),   the identity at t = epsilon: the network's preconditioning
    (6)  x_r = x_t + (r - t) Phi(x_t, t),   Phi the slope of one Heun step along dx/dt = (x - D(x; t)) / t;
         solver = "euler", the paper's other choice (Sec. 6.1): the slope at t itself
    (7)  L = lambda(t) d(f(x_t; t), f'(x_r; r)),   x_t = y + t n
    (8)  f' <- mu f' + (1 - mu) f,   after each step

The paper has lambda(t_n) = 1; weights other than "uniform" are the code's, at t. Source: arXiv:2303.01469, Algorithm 2.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from distillkit.api import Denoise, State, Step, UsageError, added_later, field, frozen, ge, hookimpl, in_, le
from distillkit.noise import heun_step
from distillkit_cm.pair import Pair, PairConfig


class Cd(Pair):
    """Consistency distillation: along a teacher's trajectories (arXiv:2303.01469)."""

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Distance between the student's images of two neighbours on a teacher's trajectory: it "
        "falls to a level. It is small too where the student draws one image: look at the pictures.",
    }

    @frozen(kw_only=True)
    class Config(PairConfig):
        N: int = field(default=18, validator=ge(2))  # points of the grid; 40: ImageNet-64, LSUN
        mu: float = field(default=0.0, validator=[ge(0), le(1)])
        """decay of the target per iteration; 0: the target is the student; 0.95: ImageNet, LSUN"""
        solver: str = field(default="heun", validator=in_(("heun", "euler")), metadata=added_later(as_before="heun"))
        """steps along the teacher: Heun's, published, or Euler's, which ask it once instead of twice, less exactly"""

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        if state.teacher is None:
            raise UsageError("[generator_loss] distills a teacher: the recipe needs a [teacher_score] table")
        super().setup(state)

    def moves(self) -> bool:
        return self.config.mu > 0

    def schedule(self, state: State) -> tuple[int, float]:
        return self.config.N, self.config.mu

    def step_down(self, x_t: Tensor, t: Tensor, r: Tensor, step: Step, teacher_score: Denoise) -> Tensor:
        """Eq. (6), two calls of the teacher, or one."""
        if self.config.solver == "euler":
            return x_t + (r - t) * (x_t - teacher_score(x_t, t, step.labels)) / t
        return heun_step(teacher_score, x_t, t, r, step.labels)
