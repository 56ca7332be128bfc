"""IMM: where the flow map takes groups of images from t, and from a little less, is one and the same distribution.

y is a real image, e noise of the data's standard deviation sd, x_t = (1 - t) y + t e. The student is a flow map D that
is asked at z = x_t / (1 - t), which is y with noise of sigma = sd t / (1 - t); rho is the noise level of s. A group, M
images in a row, shares (t, r, s):

    (a)  t ~ U(eps, T),   s ~ U(eps, t),   r = max(s, eta^-1(eta(t) - 160 / 2^k)),   eta(t) = t / (1 - t)
    (b)  f(x_t; t, s) = (1 - s) [D + (rho / sigma) (z - D)],   D = D(z; sigma, rho)
    (c)  f_t = f(x_t; t, s),   f_r = f(x_r; r, s) without gradient, x_r = (1 - r) y + r e of the same y and e
    (d)  L = w / M^2 sum_jl k(f_t^j, f_t^l) + k(f_r^j, f_r^l) - 2 k(f_t^j, f_r^l),   k(a, b) = exp(-|a - b| / h)
    (e)  h = C H W c_out,   c_out = sd (t - s) / q or sd (t - s),   q^2 = (1 - t)^2 + t^2
    (f)  w = 1/2 sigmoid(b - lambda) (-dlambda/dt) (1 - t)^a / q^2,   lambda = 2 ln((1 - t) / t)

(d) is Eq. (67), a V-statistic of the MMD; (f) is Eq. (13) and 160 is eta's range, all on the paths of flow matching. By
(b) a denoiser in EDM's form is its Simple-EDM, one that predicts the flow its Euler-FM; c_out is how far the network's
output moves f in either. With r = s, as for near times, f_r is x_s: data. Dropout has the same masks in f_t and f_r.
Source: arXiv:2503.07565, Sec. 4, App. C and Table 5; its training code was not published. Letters as in the paper.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from distillkit.api import (
    Augment,
    Choice,
    GeneratorLoss,
    Kernel,
    State,
    Step,
    UsageError,
    Use,
    check_augment,
    field,
    frozen,
    ge,
    gt,
    hookimpl,
    in_,
    le,
    lt,
)
from distillkit.mmd import pairwise
from distillkit.noise import masks_kept
from distillkit_imm.times import c_out, earlier, weight

LEAST = 1e-8  # distance of images; and a time at which networks can still be asked


class Imm(GeneratorLoss):
    """Inductive moment matching: groups from two times agree in distribution, on data (arXiv:2503.07565)."""

    # The CIFAR-10 column of Table 5 at its batch of 4096: EMA 0.9999 per iteration. Its dropout is 0.2.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "flow-map", "grid": "flow", "shift": 0.5, "sigma_max": 82.833, "end": 0.003018},
        "generator": {
            "optimizer": {"name": "radam", "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 28_390.0, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    tiny = {"M": 2}

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Squared distance of two groups' distributions, one a small step of noise ahead of the "
        "other, times a weight of a few units: near 0 from the start, and noisy. Look at the metrics.",
    }

    @frozen(kw_only=True)
    class Config:
        M: int = field(default=4, validator=ge(1))  # images that share their times and are compared as a sample
        kernel: Choice[Kernel] = Use("laplace")
        """k(a, b) of images; its bandwidth is h"""
        k: float = field(default=15.0, validator=[ge(0), le(30)])
        """r is 160 / 2^k below t, in t / (1 - t); published: 15 on CIFAR-10, 12 on ImageNet-256"""
        min_gap: float = field(default=0.0, validator=[ge(0), lt(1)])
        """least t - r, where s is not nearer; published: 1e-4 in half precision"""
        eps: float = field(default=0.006, validator=[ge(0), lt(1)])  # least time; 0: latents
        T: float = field(default=0.994, validator=[gt(0), lt(1)])  # largest time
        a: float = field(default=1.0, validator=ge(0))  # power of 1 - t in the weight: 1 or 2
        b: float = 5.0  # log-SNR down to which the weight counts; 4: ImageNet-256
        form: str = field(default="simple-edm", validator=in_(("simple-edm", "euler-fm")))
        """of the network, for the kernel's width: EDM's denoiser, or one that predicts the flow"""
        sigma_data: float = field(default=0.5, validator=gt(0))  # sd, standard deviation of the data
        label_dropout: float = field(default=0.0, validator=[ge(0), le(1)])
        """share of images that are shown without their label; 0.1: for guidance of the student"""
        augment: Choice[Augment] | None = None  # of the real images; the network then needs its augment_dim

        def __attrs_post_init__(self) -> None:
            if not self.eps < self.T:
                raise ValueError(f"'eps' {self.eps} must be below 'T' {self.T}")

    config: Config

    @property
    def group(self) -> int:
        return self.config.M

    @property
    def network_keys(self) -> dict[str, Any]:
        return {"second_time": True}

    @hookimpl
    def setup(self, state: State) -> None:
        """Raises UsageError for a network without the augmentation's labels, or without times to learn from."""
        net, c = state.generator, self.config
        self.kernel, self.augment = c.kernel.build(), None if c.augment is None else c.augment.build()
        check_augment(self.augment, net)
        low, high = (1 / (1 + c.sigma_data / sigma) if sigma else LEAST for sigma in (net.sigma_min, net.sigma_max))
        self.times = max(low, c.eps), min(high, c.T)
        if not self.times[0] < self.times[1]:
            raise UsageError(f"generator_loss.T = {c.T}: the network knows noise from {net.sigma_min:g} alone")

    @hookimpl
    def generator_loss(self, state: State, step: Step) -> Tensor:
        """(d) [N]: each image has its group's."""
        c = self.config
        t, r, s = self.draw(step)
        y, augmented = (step.real, None) if self.augment is None else self.augment(step.real, step)
        n, labels = step.randn_like(y), step.labels
        if labels is not None and c.label_dropout:
            labels = labels * (step.rand(1) >= c.label_dropout)
        with masks_kept(y.device):
            f_t = self.f(state, y + self.sigma(t).to(y) * n, t, s, labels, augmented)
        with torch.no_grad():
            f_r = self.f(state, y + self.sigma(r).to(y) * n, r, s, labels, augmented)
        return weight(t, c.a, c.b).flatten().to(y) * self.distance(f_t, f_r, t, s).repeat_interleave(c.M)

    def draw(self, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """t, r and s of (a), float64 [N,1,1,1]: a group's are its first image's."""
        c, (eps, T) = self.config, self.times
        u, v = (step.rand(1, 1, 1)[:: c.M].repeat_interleave(c.M, 0).double() for _ in "ts")
        t = eps + (T - eps) * u
        s = eps + (t - eps) * v
        return t, earlier(t, s, c.k, c.min_gap), s

    def sigma(self, t: Tensor) -> Tensor:
        """The noise level of a time."""
        return self.config.sigma_data * t / (1 - t)

    def f(
        self, state: State, z: Tensor, t: Tensor, s: Tensor, labels: Tensor | None, augmented: Tensor | None
    ) -> Tensor:
        """(b) [N,C,H,W], of z = x_t / (1 - t)."""
        sigma, rho = self.sigma(t), self.sigma(s)
        net: Any = state.generator  # a flow map
        D: Tensor = net(z, sigma.to(z), labels, augmented, r=rho.to(z))
        return (1 - s).to(z) * (D + (rho / sigma).to(z) * (z - D))

    def distance(self, f_t: Tensor, f_r: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """(d) without its weight [N/M]."""
        c = self.config
        a, b = (f.unflatten(0, (-1, c.M)).flatten(2) for f in (f_t, f_r))  # [N/M,M,CHW]
        h = a.shape[2] * c_out(t, s, c.sigma_data, c.form).clamp(min=LEAST).flatten()[:: c.M].to(a)[:, None, None]
        tt, rr, tr = (pairwise(*pair, self.kernel, h**2, LEAST).mean((1, 2)) for pair in ((a, a), (b, b), (a, b)))
        return tt + rr - 2 * tr
