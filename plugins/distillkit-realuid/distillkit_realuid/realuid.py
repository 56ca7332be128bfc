"""RealUID: the fake flow's best fit to generated images tells how far they are from the teacher's; real ones help it.

theta is the generator, psi the fake flow, * the teacher; x generated images, y real ones, n unit noise. On the straight
path from noise (t = 0) to data (t = 1), x_t = t x + (1 - t) n, the velocity that a denoiser D stands for is

    (a)  u(x_t, t) = (D(x_t / t; sigma) - x_t) / (1 - t),    sigma = (1 - t) / t

    (b)  f_s(u, x) = |u(x_t, t) - s (x - n)|^2,    a = alpha, b = beta
    (c)  L_theta   = a [f_{b/a}(u_*, x) - f_{b/a}(u_psi, x)]
    (d)  L_psi     = a f_{b/a}(u_psi, x) + (1 - a) f_{(1-b)/(1-a)}(u_psi, y),    t ~ U(0, 1), the same t and n in both

(c) is differentiated through x, x_t and both networks, whose weights are constants in it. alpha = beta = 1 needs no
real images: (c) is then the gap that SiD closes with alpha = 1/2, in the velocities' weight. (d) is the loss whose
least value (c) subtracts: five updates of psi for one of theta. Sums run over the pixels of one image.
Source: arXiv:2509.22459, Sec. 3, in the form of its authors' code (github.com/David-cripto/RealUID); the letters are
ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from distillkit.api import (
    INFINITE,
    Choice,
    Denoise,
    GeneratorLoss,
    Network,
    Optimizer,
    State,
    Step,
    Turn,
    UsageError,
    and_,
    deep_iterable,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    le,
    lt,
    optional,
)

if TYPE_CHECKING:
    from torch import Tensor


END = 1e-5  # least distance of t from 0, where sigma is infinite, and from 1, where rounding is all of a velocity
POSITIVE: Any = optional(gt(0))  # an int bound is none for floats to attrs


class RealUid(GeneratorLoss):
    """RealUID: closes the gap of two flows, with the help of real images (arXiv:2509.22459)."""

    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "one-step", "sigma_init": 80.0},
        "generator": {
            "optimizer": {"lr": 3e-5, "betas": [0.0, 0.999], "clip_norm": 1.0},
            "ema": "halflife", "ema_halflife_kimg": 500.0,
        },
    }  # fmt: skip

    tiny = {"warmup_kimg": 0.0}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "How much worse than the fake flow the teacher's fits the generated images: above 0 once the "
        "fake flow follows, and back towards 0 as the student settles.",
        "loss/fake_flow": "Squared error of the fake flow at generated and real images: a level that it keeps.",
    }

    @frozen(kw_only=True)
    class Config:
        alpha: float = field(default=1.0, validator=[gt(0), le(1)])
        """share of generated images in what the fake flow learns; published on CIFAR-10: 0.92, with labels 0.98"""
        beta: float = field(default=1.0, validator=[gt(0), le(1)])
        """share of their velocity; 1 with alpha = 1: no real image is used; published: 0.94, with labels 0.96"""
        t_min: float = field(default=0.0, validator=[ge(0), lt(1)])  # least time; raised to what the networks know
        t_max: float = field(default=1.0, validator=[gt(0), le(1)])
        """largest time, where images are clean; lowered to what the networks know"""
        updates: int = field(default=5, validator=ge(1))  # of the fake flow for one of the generator
        fake_flow: Choice[Network] | None = None
        """network of random weights to be the fake flow, as published; unset: a copy of the teacher"""
        lr: float = field(default=3e-5, validator=gt(0))  # learning rate of the fake flow
        betas: tuple[float, float] = field(default=(0.0, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))
        """decay per update of the averages of the gradient and of its square"""
        eps: float = field(default=1e-8, validator=gt(0))  # added to the root of the squared gradient
        clip_norm: float | None = field(default=1.0, validator=POSITIVE, metadata=INFINITE)
        """largest norm of all gradients; inf: any"""
        warmup_kimg: float = field(default=64.0, validator=ge(0))  # images in which lr rises linearly from 0
        schedule: str = field(default="constant", validator=in_(("constant", "cosine")))  # of lr after the warm-up
        decay_from: float = field(default=0.0, validator=ge(0))  # "cosine": share of the run after which lr falls
        final_lr: float = field(default=0.0, validator=ge(0))  # "cosine": lr at the end, as a share of lr

        def __attrs_post_init__(self) -> None:
            if self.alpha == 1 and self.beta != 1:
                raise ValueError(f"'beta' must be 1 where alpha is 1, for no real image is seen then: {self.beta}")
            if not self.t_min < self.t_max:
                raise ValueError(f"'t_min' {self.t_min} must be below 't_max' {self.t_max}")

        @property
        def depends_on_kimg(self) -> bool:
            return self.optimizer().depends_on_kimg

        def optimizer(self) -> Optimizer:
            """The fake flow's."""
            return Optimizer.of(self)

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        start: Any = "teacher" if c.fake_flow is None else state.new_network(c.fake_flow).requires_grad_(True)
        self.fake_score = psi = state.add_network("fake_flow", start, c.optimizer())
        # sigma = (1 - t) / t must be one that the networks were made for.
        known = max(psi.sigma_min, state.teacher_score.sigma_min), min(psi.sigma_max, state.teacher_score.sigma_max)
        self.times = low, high = max(c.t_min, 1 / (1 + known[1])), min(c.t_max, 1 / (1 + known[0]))
        if not max(low, END) < min(high, 1 - END):
            raise UsageError(f"t_min, t_max: no times from {low:g} to {high:g}, which the networks know")
        state.turns = [
            Turn(name="fake_flow", trains=("fake_flow",), losses=("critic_loss",)),
            Turn(name="generator", trains=("generator",), losses=("generator_loss",), every=c.updates,
                 first=c.updates - 1),
        ]  # fmt: skip

    @hookimpl
    def critic_loss(self, step: Step) -> Tensor:
        """(d)."""
        a, b = self.config.alpha, self.config.beta
        t, n = self.path(step)
        L_psi = a * misfit(self.fake_score, step.x, n, t, step.labels, b / a)
        if a < 1:
            y, labels = step.real, step.real_labels
            L_psi = L_psi + (1 - a) * misfit(self.fake_score, y, n, t, labels, (1 - b) / (1 - a))
        return L_psi

    @hookimpl
    def generator_loss(self, step: Step, teacher_score: Denoise) -> Tensor:
        """(c)."""
        a, b = self.config.alpha, self.config.beta
        t, n = self.path(step)
        f_real = misfit(teacher_score, step.x, n, t, step.labels, b / a)
        return a * (f_real - misfit(self.fake_score, step.x, n, t, step.labels, b / a))

    def path(self, step: Step) -> tuple[Tensor, Tensor]:
        """t [N,1,1,1] and n [N,C,H,W]."""
        t = step.uniform(*self.times).clamp(END, 1 - END)
        return t, step.randn_like(step.x)


def misfit(D: Denoise, x: Tensor, n: Tensor, t: Tensor, labels: Tensor | None, s: float) -> Tensor:
    """(b) [N], of clean images x, noise n [N,C,H,W] and t [N,1,1,1]."""
    x_t = t * x + (1 - t) * n
    u = (D(x_t / t, (1 - t) / t, labels) - x_t) / (1 - t)  # (a)
    return (u - s * (x - n)).square().flatten(1).sum(1)
