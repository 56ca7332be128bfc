"""FD-loss: the Frechet distance itself as a term, over a population much larger than the batch.

    (2)  FD   = |m - m_r|^2 + tr(S + S_r - 2 (S_r^1/2 S S_r^1/2)^1/2)
    (6)  term = sum over embeddings of FD / sg(FD)

Equation numbers are the paper's, whose (6) has sg(FD) + c, c = 0.01, and whose letters are mu_g, mu_r, Sigma_g, Sigma_r
for m, m_r, S, S_r.
m, S: mean and covariance of the features of the last `population` generated images, the batch among them with its
gradient; m_r, S_r: of the real images. sg: without gradient, so that every embedding counts alike.
Source: arXiv:2604.28190: "decouple the population size for FD estimation (e.g. 50k) from the batch size for gradient
computation (e.g. 1024)". Ours: the scale of the batch's gradient (population.py), and no term before `minimum` images.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distillkit import noise
from distillkit.api import (
    AuxiliaryLoss,
    Choice,
    Embedding,
    State,
    Step,
    Term,
    UsageError,
    Use,
    field,
    frozen,
    ge,
    hookimpl,
    in_,
    min_len,
)
from distillkit_metrics.population import POPULATIONS
from distillkit_metrics.statistics import moments

CHUNK = 500  # real images per pass


class FrechetLoss(AuxiliaryLoss):
    """FD-loss: Frechet distance in frozen features, over a large population (arXiv:2604.28190)."""

    tiny = {"population": 24, "minimum": 2}

    curves: ClassVar[dict[str, str]] = {
        "loss/frechet": "The number of feature networks by construction, since each distance is divided by itself: "
        "only its gradient acts.",
        "fd/*": "Frechet distance of the population of generated images from real ones: it falls to a level (on "
        "digits from 15 to 4).",
    }

    @frozen(kw_only=True)
    class Config:
        embeddings: tuple[Choice[Embedding], ...] = field(default=(Use("convnet"),), validator=min_len(1))
        """frozen networks whose features are compared"""
        population: int = field(default=50_000, validator=ge(2))  # generated images behind the distance
        memory: str = field(default="queue", validator=in_(("queue", "ema")))
        """what is kept of the population: its last features, or running moments"""
        minimum: int = field(default=1024, validator=ge(2))  # images generated before the first term
        seed: int = field(default=0, validator=ge(0))  # of the embeddings, beside the run's seed

    @hookimpl
    def setup(self, state: State) -> None:
        c = self.config
        if c.population < state.batch:
            raise UsageError(f"frechet: population = {c.population} is less than run.batch = {state.batch}")
        seeds = [noise.fold(state.seed, "frechet", i, c.seed) for i in range(len(c.embeddings))]
        self.nets = [state.embedding(choice, seed) for choice, seed in zip(c.embeddings, seeds, strict=True)]
        self.real = [Real(net, state) for net in self.nets]
        self.populations = [POPULATIONS[c.memory](len(r.mean), c.population, state.device) for r in self.real]

    @hookimpl
    def auxiliary_loss(self, state: State, step: Step) -> Term | None:
        total, ready = step.own.x.new_zeros((), dtype=torch.float64), False
        for name, net, real, population in zip(self._names(), self.nets, self.real, self.populations, strict=True):
            f = torch.cat([net(part) for part in step.own.x.split(state.micro_batch)])  # of this rank's images
            f = step.gather(f).double() - real.mean  # centred: better conditioned sums
            mean, cov, n = population.moments(f)
            if n >= self.config.minimum:
                fd, ready = real.distance(mean, cov), True
                state.record(f"fd/{name}", fd)
                total = total + fd / fd.detach().clamp(min=1e-12)
            if f.isfinite().all():
                population.add(f)
        return Term("frechet", total.to(step.own.x.dtype)) if ready else None

    def _names(self) -> list[str]:
        return [f"{choice.name}.{i}" if i else choice.name for i, choice in enumerate(self.config.embeddings)]

    def state_dict(self) -> dict[str, Any]:
        parts = enumerate(self.populations)
        return {f"{i}.{key}": value for i, part in parts for key, value in part.state_dict().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, part in enumerate(self.populations):
            part.load_state_dict({key.split(".")[1]: v for key, v in state.items() if key.split(".")[0] == str(i)})


class Real:
    """Mean and covariance of the real images' features, and the distance from them."""

    def __init__(self, net: nn.Module, state: State) -> None:
        with torch.no_grad():
            chunks = torch.arange(len(state.dataset)).split(CHUNK)
            f = torch.cat([net(state.dataset.images(i).to(state.device, state.dtype)).cpu() for i in chunks])
        found = moments(f)
        values, vectors = torch.linalg.eigh(found.cov)
        self.mean, self.cov = found.mean.to(state.device), found.cov.to(state.device)
        self.root = (vectors * values.clamp(min=0).sqrt() @ vectors.T).to(state.device)  # S_r^1/2

    def distance(self, mean: Tensor, cov: Tensor) -> Tensor:
        """FD [] of a mean [D], already without m_r, and a covariance [D,D]; differentiable.

        Directions without variance have no gradient: the root's would be infinite there.
        """
        product = self.root @ cov @ self.root
        values = torch.linalg.eigvalsh((product + product.T) / 2)
        floor = 1e-12 * values.detach().amax().clamp(min=1e-30)
        cross = torch.where(values > floor, values.clamp(min=floor).sqrt(), 0.0).sum()
        return mean.square().sum() + cov.trace() + self.cov.trace() - 2 * cross
