"""rCM: continuous-time consistency, which covers all of a teacher's images, regularised by distribution matching.

D is the student in EDM's form, D_* the teacher, guided as the recipe says, D_f the fake score; y a real image, n unit
noise, S sigma_data, theta = arctan(s / S), F = (cos^2(theta) (y + s n) - D) / (S sin(theta)).

    (a)  ln tan(theta) ~ N(P_mean, P_std^2),   x = y + s n
    (b)  dD/dln s = JVP of D at (x, s) along (x - D_*, s)
    (c)  g = (dD/dln s - cos(theta) (sqrt(1 - r^2 sin^2) - cos) (D_* - D)) / sin(theta) + (1 - r) cos^2(theta) sin x
    (d)  g <- g / (|g|_2 + c)
    (e)  L_scm = scm_weight sum (F - sg(F) - g)^2
    (f)  x_0 = s_0 n,   x_{i+1} = D(x_i, s_i) + s_{i+1} n',   x = D(x_k, s_k),   k = j mod steps
    (g)  tan(theta_{i+1}) = shift u / (1 - u), u uniform, but at most tan(theta_i)
    (h)  L_dmd = dmd_weight sum (x - sg(x - (D_f - D_*) / max(mean |x - D_*|, 1e-5)))^2     at x + s n, s by (g)
    (i)  L_fake = sum (x - D_f)^2 / sin^2(theta)                                             at x + s n, s by (g)

(c) is the source's -cos sqrt(1 - r^2 sin^2) (S F - v) - r cos sin x_theta - S dF/dln s, v being S F of D_*, in D: at
r = 1 sCM's tangent. r = min(1, iteration / tangent_warmup). sg: without gradient. While iteration < tangent_warmup
only (e) trains; from then on (e) + (h) the student in one iteration of student_update_freq, and (i) D_f in the others.
j: updates of either. (h) and others who see x go back through the last call of (f); s_0 is the sampler's first level.
Forms of (b) to (e) without forward mode are in tangent.py.
Source: arXiv:2510.08431, its code (github.com/NVlabs/rcm); (b)-(e): arXiv:2410.11081, Sec. 4; the letters are ours.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import (
    Denoise,
    GeneratorLoss,
    Rollout,
    State,
    Step,
    Turn,
    UsageError,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
)
from distillkit.noise import SIGMA_MAX
from distillkit_scm.levels import noise_share, shifted
from distillkit_scm.tangent import TangentConfig, discrete, tangent


class Rcm(GeneratorLoss):
    """rCM: sCM and distribution matching in one turn, for a few steps (arXiv:2510.08431)."""

    # Wan 2.1, 1.3B; 14B: lr 1e-6, student_update_freq 10.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "few-step", "sigmas": [80.0], "sigma_min": 0.0, "clamp": False},
        "generator": {
            "optimizer": {"name": "adamw", "lr": 2e-6, "betas": [0.0, 0.999], "weight_decay": 0.01}, "dropout": 0.0,
        },
    }  # fmt: skip

    tiny = {"tangent_warmup": 2, "steps": 2}

    curves: ClassVar[dict[str, str]] = {
        "loss/warmup": "(e), nearly scm_weight always: it says little. Look at the tangent.",
        "loss/generator": "(e) + (h): what moves is the matching, which rises at first, then falls slowly.",
        "loss/fake_score": "Error of the fake score at generated images: a level, after it has caught up.",
        "rcm/tangent": "Norm of g before it is normalised: how far the student is from a consistency function.",
        "rcm/matching": "The matching loss without its weight: 0 where the fake score and the teacher agree.",
    }

    @frozen(kw_only=True)
    class Config(TangentConfig):
        P_mean: float = 0.7  # mean of ln tan(theta) in (a)
        P_std: float = field(default=1.6, validator=gt(0))  # standard deviation of ln tan(theta) in (a)
        tangent_warmup: int = field(default=1000, validator=ge(0))
        """iterations of the student alone, by (e), in which r rises from 0 to 1"""
        c: float = field(default=0.1, validator=gt(0))  # added to the size of g
        scm_weight: float = field(default=100.0, validator=ge(0))  # weight of (e)
        dmd_weight: float = field(default=1.0, validator=ge(0))  # weight of (h)
        steps: int = field(default=4, validator=ge(1))  # largest number of calls that make an image, in (f)
        fixed_levels: bool = False  # noise levels of (f) after the first: the sampler's, in place of (g)
        shift: float = field(default=5.0, validator=gt(0))  # of noise levels in (g): more is noisier
        student_update_freq: int = field(default=5, validator=ge(2))
        """iterations per update of the student, after tangent_warmup; in the others the fake score trains"""

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        c, sampler, first = self.config, state.recipe.sample.config, self.config.tangent_warmup
        sigmas = getattr(sampler, "sigmas", ()) or (getattr(sampler, "sigma_init", SIGMA_MAX),)
        if c.fixed_levels and len(sigmas) < c.steps:
            raise UsageError(f"generator_loss.fixed_levels needs a sampler with {c.steps} or more sigmas, one a step")
        self.fake_score = state.add_network("fake_score", "teacher", c.optimizer())
        self.S = state.generator.sigma_data
        levels = None if c.fixed_levels else self.levels
        self.rollout = Rollout(sigmas=sigmas, calls=self.calls, levels=levels)
        end, every = (first - 0.5) * state.batch / 1000, c.student_update_freq
        student: Any = {"trains": ("generator",), "losses": ("generator_loss",)}
        state.turns = [Turn(name="warmup", stop_kimg=end, **student)] if first else []
        state.turns += [Turn(name="generator", every=every, first=first, **student)]
        for i in range(1, every):
            state.turns.append(Turn(name="fake_score", trains=("fake_score",), every=every, first=first + i))

    def calls(self, state: State, step: Step) -> int:
        """k + 1 of (f)."""
        c, iteration = self.config, state.iteration
        student = min(iteration, c.tangent_warmup) + max(iteration - c.tangent_warmup, 0) // c.student_update_freq
        j = iteration - student - 1 if step.turn == "fake_score" else student
        return j % c.steps + 1

    def levels(self, u: Tensor) -> Tensor:
        """(g): s [N,1,1,1] of u [N,1,1,1]."""
        return self.S * shifted(u, self.config.shift)

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(e), after the warm-up with (h) [N]."""
        L = self.config.scm_weight * self.consistency(state, step, teacher_score)
        if step.turn == "warmup":
            return L
        state.record("rcm/matching", (matching := self.matching(step, teacher_score)).mean())
        return L + self.config.dmd_weight * matching

    def consistency(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(e) [N], without its weight."""
        c, y, S = self.config, step.real, self.S
        if c.consistency == "discrete":
            return discrete(state, step, teacher_score, S, c.shift, c.N, c.skip)
        s = S * step.lognormal_sigma(c.P_mean, c.P_std)  # (a)
        x = y + s * step.randn_like(y)
        with torch.no_grad():
            D_star = teacher_score(x, s, step.labels)
        r = min(1.0, state.iteration / c.tangent_warmup) if c.tangent_warmup else 1.0
        D, g = tangent(step, lambda x, s: state.generator(x, s, step.labels), x, s, D_star, S, r, c)  # (b), (c)
        size = g.flatten(1).norm(dim=1).view_as(s)
        state.record("rcm/tangent", size.mean())
        error: Tensor = (D.detach() - D) / (S * noise_share(s, S)[0].sqrt()) - g / (size + c.c)  # (d)
        return error.square().flatten(1).sum(1)

    def matching(self, step: Step, teacher_score: Denoise) -> Tensor:
        """(h) [N], without its weight."""
        s = self.levels(step.rand(1, 1, 1))
        with torch.no_grad():
            x_s = step.x + s * step.randn_like(step.x)
            self.fake_score.eval()  # one without dropout
            D_f, D_star = self.fake_score(x_s, s, step.labels), teacher_score(x_s, s, step.labels)
            size = (step.x - D_star).abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-5)
            aim = step.x - (D_f - D_star) / size
        return (step.x - aim).square().flatten(1).sum(1)

    @hookimpl
    def critic_loss(self, step: Step) -> Tensor:
        """(i) [N]."""
        s = self.levels(step.rand(1, 1, 1))
        self.fake_score.eval()
        D_f = self.fake_score(step.x + s * step.randn_like(step.x), s, step.labels)
        sin2, _ = noise_share(s, self.S)
        return ((step.x - D_f).square() / sin2).flatten(1).sum(1)
