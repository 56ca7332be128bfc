"""f-distill: DMD for any f-divergence: the difference of the scores weighted by how much more likely an image is real.

theta is the student, D_r the teacher, D_f the fake score; x_t, t, n, the heads' logits l [K], (a), (b) as in ladd.py.
The gradient of D_f(p_t || q_t), p_t of real and q_t of generated noisy images, is DMD's with a weight h (Sec. 3):

    (e)  grad_theta = E h(r) (s_fake - s_real) dG/dtheta,    h(r) = f''(r) r^2,    r = p_t(x_t) / q_t(x_t)
    (f)  r   = clamp(exp(clamp(mean_k l(x_t), -10, 10)), ratio_lower, ratio_upper)
    (g)  e_b <- rate e_b + (1 - rate) mean of r in bin b,  r <- r / e_b,  b one of `bins` equal parts of sigma's range
    (h)  h   <- h / mean h                                                 over the batch
    (i)  w   = h / mean |x - D_r|                                          mean over the pixels
    (j)  L_theta = 1/2 mean (x - stop(x - w (D_f - D_r)))^2 + gan_weight (a),    one t and n in both
    (k)  L_f     = mean (D_f(x_t) - x)^2,    in the turn of (b), with its t and n; an optimizer each

    f     kl   rkl   js            sf          sh        neyman   jf
    h(r)  r    1     r / (1 + r)   1 / (1+r)   sqrt(r)   1 / r    1 + r

kl is the forward divergence, rkl the reverse one, which is DMD2; js Jensen-Shannon, sf the softened reverse kl, sh the
squared Hellinger distance, jf Jeffreys'. (g), (h) and (i) divide by 1e-6 more than they say. (g) and (h) need all
images of an update: with run.micro_batch they take e_b and mean h as the update before left them (averages.py).
Source: arXiv:2502.15681, Table 1, as github.com/NVlabs/FastGen has it, whose rkl does not run; the letters are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from distillkit.api import Denoise, State, Step, field, frozen, ge, gt, hookimpl, in_, lt
from distillkit.noise import SIGMA_MAX, SIGMA_MIN
from distillkit_dmd.averages import SMALL, Averages
from distillkit_dmd.dmd import MATCHING, drawn, matching_sigma
from distillkit_dmd.ladd import CLASSIFIER, Ladd

if TYPE_CHECKING:
    from torch import Tensor

H: dict[str, Callable[[Tensor], Tensor]] = {  # h of (e)
    "kl": lambda r: r,
    "rkl": torch.ones_like,
    "js": lambda r: 1 - 1 / (1 + r),
    "sf": lambda r: 1 / (1 + r),
    "sh": torch.sqrt,
    "neyman": lambda r: 1 / r.clamp(min=1e-8),
    "jf": lambda r: 1 + r,
}


def _above_lower(instance: Any, attribute: Any, value: float) -> None:
    if value <= instance.ratio_lower:
        raise ValueError(f"'ratio_upper' must be above ratio_lower = {instance.ratio_lower}: {value}")


class FDistill(Ladd):
    """f-distill: distribution matching by any of seven f-divergences, and a GAN (arXiv:2502.15681)."""

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": f"{MATCHING} Times h; the GAN's part is small.",
        "loss/critics": "Denoising error of the fake score at generated images, and the discriminator's loss: a level, "
        "once both have caught up with the student.",
        "loss/classifier": CLASSIFIER,
        "loss/adversarial": "The GAN's part of the student's loss, without its weight: 0.69 where generated images "
        "pass for real as often as not.",
        "variance/h": "Variance of h over the batch, whose mean is 1: 0 where no image counts more than "
        "another. It grows with how well the discriminator tells images apart.",
    }

    @frozen(kw_only=True)
    class Config(Ladd.Config):
        f: str = field(default="js", validator=in_(tuple(H)))  # the divergence; CIFAR-10: "kl"
        gan_weight: float = field(default=1e-3, validator=ge(0))  # of the GAN's loss, in (j); ImageNet 64: 3e-3
        ratio_lower: float = field(default=0.1, validator=gt(0))  # least r of (f)
        ratio_upper: float = field(default=20.0, validator=[gt(0), _above_lower])  # largest r of (f)
        bins: int = field(default=10, validator=ge(0))
        """parts of the range of noise levels, linear in sigma, by whose mean r is divided; 0: r as it is"""
        rate: float = field(default=0.0, validator=[ge(0), lt(1)])
        """what stays of a bin's mean per update; 0: that of the batch; ImageNet 64: 0.5"""
        fake_weight: str = field(default="none", validator=in_(("none", "noise")))
        """weight of (k); "noise", for teachers that predict it: 1 / sigma^2"""

    config: Config

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        self.fake_score = state.add_network("fake_score", "teacher", c.optimizer())
        self.add_classifier(state)
        self.ratios = Averages(state, c.bins, c.rate, start=1.0)
        self.mean_h = Averages(state, 1, 0.0, start=float(H[c.f](torch.ones(()))))
        state.turns = self.turns("critics", ("fake_score", "classifier"))

    @hookimpl
    def critic_loss(self, state: State, step: Step) -> Tensor:
        """(k) + (b) [N]."""
        sigma, n = drawn(step, matching_sigma(step, self.config))
        L_cls = self.classifier_loss(state, step, sigma, n)
        state.record("loss/classifier", L_cls.mean())
        self.fake_score.eval()  # dropout is off in DMD
        error = self.fake_score(step.x + sigma * n, sigma, step.labels) - step.x
        if self.config.fake_weight == "noise":
            error = error / sigma
        return error.square().flatten(1).mean(1) + L_cls

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:  # type: ignore[override]
        """(j) [N]."""
        sigma, n = drawn(step, matching_sigma(step, self.config))
        l_fake = self.logits(step.x, step.labels, sigma, n)
        L_gan = self.adversarial_loss(l_fake)
        state.record("loss/adversarial", L_gan.mean())
        with torch.no_grad():
            h = self.weight(step, l_fake.mean(1), sigma)
            state.record("variance/h", (h - 1).square().mean())
            x_t = step.x + sigma * n
            D_r, D_f = teacher_score(x_t, sigma, step.labels), self.fake_score(x_t, sigma, step.labels)
            w = h.view(-1, 1, 1, 1) / ((step.x - D_r).abs().mean((1, 2, 3), keepdim=True) + SMALL)  # (i)
            target = step.x - w * (D_f - D_r)
        return 0.5 * (step.x - target).square().flatten(1).mean(1) + self.config.gan_weight * L_gan

    def weight(self, step: Step, mean_l: Tensor, sigma: Tensor) -> Tensor:
        """h [N] by (f), (g) and (h), of the heads' mean logits [N] at sigma [N,1,1,1]."""
        c = self.config
        r = mean_l.clamp(-10, 10).exp().clamp(c.ratio_lower, c.ratio_upper)
        if c.bins:
            b = (sigma.flatten() - SIGMA_MIN) / ((SIGMA_MAX - SIGMA_MIN) / c.bins)
            r = r / (self.ratios(step, r, b.long().clamp(0, c.bins - 1)) + SMALL)
        h = H[c.f](r)
        return h / (self.mean_h(step, h) + SMALL)

    @hookimpl
    def after_step(self, state: State) -> None:
        self.ratios.end(state)
        self.mean_h.end(state)

    def state_dict(self) -> dict[str, Any]:
        return {"bins": self.ratios.e.clone(), "mean_h": self.mean_h.e.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ratios.load(state["bins"])
        self.mean_h.load(state["mean_h"])
