"""rCM's tangent, by a derivative or by differences for networks without forward mode, and its discrete loss without.

In TrigFlow's words: x_theta = cos(theta) x is the point, V = (cos(theta) x_theta - D) / sin(theta) the student's
velocity there, S times its F, V_* the teacher's. In place of (b) and (c), as the source's `fd_type` 1 and 2,

    (j)  dV = (dV/dx_theta) V_* + (V - V(x_theta, theta - h) / cos(h)) / tan(h)                  "semi-continuous"
    (k)  dV = (V - V(cos(h) x_theta - sin(h) V_*, theta - h) / cos(h)) / tan(h)                  "difference"
    (l)  g = -cos sqrt(1 - r^2 sin^2) (V - V_*) - r cos sin x_theta - cos sin dV

and in place of (e), a consistency loss of N steps,

    (m)  L_scm = scm_weight sum (D - sg(D(x_k, theta_k)))^2,   k = skip                          "discrete"
    (n)  x_{i+1} = x_i - (theta_i - theta_{i+1}) V_*(x_i, theta_i),   tan(theta_i) by (g) of 1 - u - i / N

(l) is TrigFlow's tangent itself, and (c) what it is where dV is exact. x_i here are points as x_theta is.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from distillkit.api import Denoise, State, Step, added_later, field, frozen, ge, in_, le
from distillkit.noise import masks_kept
from distillkit_scm.fake import FakeScoreConfig
from distillkit_scm.levels import noise_share, shifted

FORMS = ("continuous", "semi-continuous", "difference", "discrete")
Student = Callable[[Tensor, Tensor], Tensor]
Found = tuple[Tensor, Tensor]


@frozen(kw_only=True)
class TangentConfig(FakeScoreConfig):
    consistency: str = field(default="continuous", validator=in_(FORMS), metadata=added_later("continuous"))
    """(e) by a derivative in forward mode, as published, by one along x alone, or by a difference; (m) in its place"""
    h: float = field(default=1e-4, validator=[ge(1e-6), le(0.5)], metadata=added_later(1e-4))
    """angle of the differences in (j) and (k)"""
    N: int = field(default=48, validator=ge(1), metadata=added_later(48))  # "discrete": steps from noise to data
    skip: int = field(default=1, validator=ge(1), metadata=added_later(1))
    """"discrete": how many of them lie between an image and its target"""

    def __attrs_post_init__(self) -> None:
        if self.consistency == "discrete" and self.skip >= self.N:
            raise ValueError(f"'skip' {self.skip} must be below 'N' {self.N}, the steps from noise to data")


def tangent(
    step: Step, D: Student, x: Tensor, s: Tensor, D_star: Tensor, S: float, r: float, c: TangentConfig
) -> Found:
    """D [N,C,H,W] at (x, s [N,1,1,1]) with its graph, and g of (c) without one."""
    if c.consistency != "continuous":
        return by_difference(step, D, x, s, D_star, S, r, c)
    D_s, dD = step.jvp(D, (x, s), (x - D_star, s))  # (b)
    sin2, cos2 = noise_share(s, S)
    sin, cos = sin2.sqrt(), cos2.sqrt()
    ahead = cos * ((1 - r**2 * sin2).sqrt() - cos) * (D_star - D_s.detach())
    return D_s, (dD - ahead) / sin + (1 - r) * cos2 * sin * x  # (c)


def by_difference(
    step: Step, D: Student, x: Tensor, s: Tensor, D_star: Tensor, S: float, r: float, c: TangentConfig
) -> Found:
    """The same with g of (l), by (j) or (k)."""
    theta = (s / S).atan()
    sin, cos, semi = theta.sin(), theta.cos(), c.consistency == "semi-continuous"
    x_theta, V_star = cos * x, (cos**2 * x - D_star) / sin

    def V(x: Tensor, theta: Tensor) -> Tensor:
        return (theta.cos() * x - D(x / theta.cos(), S * theta.tan())) / theta.sin()

    def moved(tan: Tensor) -> Tensor:
        """V where theta is arctan(tan) further: time alone is in (j), in (k) the point as well."""
        on = tan.atan()
        return V(x_theta if semi else on.cos() * (x_theta + tan * V_star), theta + on) / on.cos()

    zero, back = torch.zeros_like(s), -(theta / 2).clamp(max=c.h).tan()
    V_s, dV = step.jvp(moved, (zero,), (zero + 1,), (back, 0.0))
    if semi:
        with torch.no_grad():
            dV = dV + step.jvp(V, (x_theta, theta), (V_star, zero))[1]
    ahead = cos * (1 - r**2 * sin**2).sqrt() * (V_star - V_s.detach())
    return cos * x_theta - sin * V_s, ahead - cos * sin * (r * x_theta + dV)


def discrete(state: State, step: Step, teacher_score: Denoise, S: float, shift: float, N: int, skip: int) -> Tensor:
    """(m) [N], without its weight."""
    y, u = step.real, (1 - skip / N) * step.rand(1, 1, 1)
    theta = [shifted((1 - u - i / N).clamp(max=1 - 1e-6), shift).atan() for i in range(skip + 1)]
    x_0 = x = theta[0].cos() * y + S * theta[0].sin() * step.randn_like(y)
    with torch.no_grad():
        for a, b in pairwise(theta):  # (n)
            D_star = teacher_score(x / a.cos(), S * a.tan(), step.labels)
            x = x - (a - b) * (a.cos() * x - D_star) / a.sin()
    a, b = theta[0], theta[-1]
    with masks_kept(y.device):
        D = state.generator(x_0 / a.cos(), S * a.tan(), step.labels)
    with torch.no_grad():
        D_k = state.generator(x / b.cos(), S * b.tan(), step.labels)
    return (D - D_k).square().flatten(1).sum(1)
