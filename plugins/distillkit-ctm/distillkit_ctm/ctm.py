"""CTM: one network that jumps from any noise level of a teacher's flow to any lower one, and denoises as well.

g is the student, g' its slow copy, the target; D the teacher; y a real image, n unit noise, sg a constant. The grid
t_0 > ... > t_(N-1) falls from sigma_max to epsilon = sigma_min by rho = 7.

    (a)  G(x, t, s) = (s/t) x + (1 - s/t) g(x, t, s),   where the flow takes x from t to s;   g(x, t, t) denoises
    (b)  t = t_i, u = t_(i+h), s = t_j;   h once for the whole batch, P(h) ~ h;   i ~ U{0 ... N-1-h}, j ~ U{i+h ... N-1}
    (c)  x_t = y + t n;   x_u = h of Heun's steps along dx/dt = (x - D(x; t)) / t, down the grid from t to u;
         solver = "self": x_u = G'(x_t, t, u), without a teacher
    (d)  L_CTM = w d(G'(x_s, s, epsilon), sg G'(G(x_u, u, s), s, epsilon)),   x_s = G(x_t, t, s),   w = 1
    (e)  L_DSM = lambda(sigma) mean (g(y + sigma n, sigma, sigma) - y)^2,   EDM's lambda; sigma of the first half of a
         pass ln sigma ~ N(P_mean, P_std^2), of the other at position U(0, u_max) of the rho-schedule
    (f)  L = L_CTM + lambda_DSM L_DSM,   lambda_DSM = |dL_CTM/dw| / (|dL_DSM/dw| + 1e-4),   w the last layer
    (g)  g' <- mu g' + (1 - mu) g,   after each step

In (d) gradients go through G' to x_s and there to g; G' itself is a constant. d is LPIPS of images of 224 pixels.
lambda_DSM is a constant in (f), at most 10^4. Source: arXiv:2310.02279, Algorithm 1, in the form of its authors' code
(github.com/sony/ctm, ctm-cifar10); the letters are ours, and h, i, j.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distillkit.api import Denoise, FlowMap, GeneratorLoss, State, Step, UsageError, frozen, hookimpl
from distillkit.distances import distance
from distillkit.noise import SIGMA_MIN, denoising_loss, heun_step, masks_kept, rho_grid
from distillkit_ctm.config import CtmConfig
from distillkit_ctm.draw import Draw, draw
from distillkit_ctm.last_layer import candidates


class Ctm(GeneratorLoss):
    """CTM: jumps along a teacher's flow between any two noise levels, and denoises (arXiv:2310.02279)."""

    # CIFAR-10 at a batch of 256; the average that is sampled is as slow as the target, 0.999 per iteration.
    recipe_defaults: ClassVar[dict[str, Any]] = {
        "sample": {"use": "flow-map", "steps": 1, "end": SIGMA_MIN},
        "generator": {
            "optimizer": {"name": "radam", "lr": 4e-4, "betas": [0.9, 0.999], "eps": 1e-8},
            "ema": "halflife", "ema_halflife_kimg": 177.4, "ema_rampup_ratio": None,
        },
    }  # fmt: skip

    curves: ClassVar[dict[str, str]] = {
        "loss/generator": "Distance of jumps that should end alike, and the weighted error of denoising: it falls to a "
        "level. The first is small too where all jumps end in one image: look at the pictures.",
        "loss/ctm": "Distance between images that two ways along the flow end in: it falls to a level.",
        "loss/dsm": "Weighted error of the student as a denoiser: that of its teacher, or a little more.",
        "weight/*": "What a further loss is multiplied by, to do as much at the last layer as that of the jumps.",
    }

    tiny = {"N": 4, "h": 2}

    @frozen(kw_only=True)
    class Config(CtmConfig):
        pass

    config: CtmConfig

    @property
    def network_keys(self) -> dict[str, Any]:
        return {"second_time": True}

    @property
    def whole_weights(self) -> bool:
        return self.config.adaptive and self.config.dsm > 0

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        if c.solver == "heun" and state.teacher is None:
            raise UsageError('[generator_loss] follows a teacher: a [teacher_score] table, or solver = "self"')
        if not (isinstance(state.generator, FlowMap) and state.generator.second_time):
            raise UsageError(f"CTM needs a network with second_time; {type(state.generator).__name__} has none")
        self.layers = candidates(state, c.last_layer) if c.adaptive else []
        self.phi: nn.Module | None = None if c.features is None else state.embedding(c.features)
        self.target = state.add_copy("target", average=lambda: self.share(state))  # (g)

    def share(self, state: State) -> float:
        """mu of (g)."""
        return self.config.mu

    @hookimpl
    def generator_loss(self, state: State, step: Step, teacher_score: Denoise) -> Tensor:
        """(f) [N]."""
        at = draw(self.config, state, step)
        L_ctm = self.consistency(state.generator, step, at, teacher_score)
        state.record("loss/ctm", L_ctm.detach().mean())
        L = L_ctm + self.further(state, step, at, L_ctm)
        if self.config.dsm:
            L_dsm = self.denoising(state.generator, state, step)
            state.record("loss/dsm", L_dsm.detach().mean())
            L = L + self.config.dsm * self.balance("dsm", state, step, L_ctm, L_dsm, (0.0, 1e4)) * L_dsm
        return L

    def further(self, state: State, step: Step, at: Draw, L_ctm: Tensor) -> Tensor | float:
        """What is added to (f) [N], by who goes on from here."""
        return 0.0

    def balance(
        self, name: str, state: State, step: Step, L_ctm: Tensor, L: Tensor, bounds: tuple[float, float]
    ) -> Tensor | float:
        """lambda [] of (f) for a further loss [N], within bounds."""
        if not self.config.adaptive:
            return 1.0
        w = [p for p in self.layers if p.requires_grad][-1]
        weight = (step.grad_norm(L_ctm, w) / (step.grad_norm(L, w) + 1e-4)).clamp(*bounds)
        state.record(f"weight/{name}", weight)
        return weight

    def consistency(self, g: Any, step: Step, at: Draw, D: Denoise) -> Tensor:
        """(d) [N]."""
        c, labels, epsilon = self.config, step.labels, torch.full_like(at.s, self.config.sigma_min)
        with masks_kept(at.x_t.device):  # the same dropout masks from t and from u
            x_s = G(g, at.x_t, at.t, at.s, labels)
        with torch.no_grad():
            x_target = G(g, self.down(at, D, labels), at.u, at.s, labels)
            x_target = G(self.target, x_target, at.s, epsilon, labels)
        w = 1.0 if c.weight == "uniform" else (1 / (1 - at.s / at.t)).flatten()
        if c.outer == "student":
            return w * distance(c.distance, G(g, x_s, at.s, epsilon, labels), x_target, c.huber_c, self.phi)
        # G' is a constant: what it says of x_s is a gradient there, and its graph is freed before g's way back.
        x = x_s.detach().requires_grad_()
        L = w * distance(c.distance, G(self.target, x, at.s, epsilon, labels), x_target, c.huber_c, self.phi)
        (slope,) = torch.autograd.grad(L.sum(), x)
        return L.detach() + ((x_s - x_s.detach()) * slope).flatten(1).sum(1)

    def down(self, at: Draw, D: Denoise, labels: Tensor | None) -> Tensor:
        """x_u of (c)."""
        if self.config.solver == "self":
            return G(self.target, at.x_t, at.t, at.u, labels)
        x = at.x_t
        for k in range(at.h):
            x = heun_step(D, x, self.config.grid(at.i + k), self.config.grid(at.i + k + 1), labels)
        return x

    def denoising(self, g: Any, state: State, step: Step) -> Tensor:
        """(e) [N]."""
        c, y = self.config, step.real
        size = max(2, step.batch if state.micro_batch == state.batch else state.micro_batch)  # images of a pass
        sigma, u = step.lognormal_sigma(c.P_mean, c.P_std), c.u_max * step.rand(1, 1, 1)
        row = torch.arange(step.first, step.first + step.n, device=y.device).view(-1, 1, 1, 1)
        sigma = torch.where(row % size < size // 2, sigma, rho_grid(u, c.sigma_min, c.sigma_max, c.rho))
        D = g(y + sigma * step.randn_like(y), sigma, step.labels, r=sigma)
        return denoising_loss(D, y, sigma, c.sigma_data).flatten(1).mean(1)


def G(g: Any, x: Tensor, t: Tensor, s: Tensor, labels: Tensor | None) -> Tensor:
    """(a) [N,C,H,W]."""
    D: Tensor = g(x, t, labels, r=s)
    return D + s / t * (x - D)
