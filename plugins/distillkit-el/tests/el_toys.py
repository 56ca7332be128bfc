"""What the tests of the Embedding Loss share: kernels, embeddings, data, a state and a step made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from distillkit_el.loss import EmbeddingLoss
from torch import Tensor, nn

from distillkit.api import Choice, Dataset, Embedding, Kernel
from distillkit.mmd import bandwidth2, mmd2

SIZE, PIXELS = 40, (1, 2, 2)


class Gauss(Kernel):
    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        k = r.neg().exp()
        return k, -k


class Inner(Kernel):
    radial = False

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return r, torch.ones_like(r)


class Flat(Embedding):
    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        return nn.Flatten()


class Mix(Embedding):
    """A random linear map and a tanh."""

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh()).requires_grad_(False)
        net[1].weight.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)))
        net[1].bias.zero_()
        return net


class Toy(Dataset):
    """Normal pixels; image i has label i mod 2."""

    resolution, channels, label_dim, shape = 2, 1, 2, PIXELS

    def __init__(self) -> None:
        super().__init__(None)
        self.x = torch.randn(SIZE, *PIXELS, generator=torch.Generator().manual_seed(1))
        self.read = 0

    def __len__(self) -> int:
        return SIZE

    def images(self, index: Tensor) -> Tensor:
        self.read += len(index)
        return self.x[index]

    def labels(self, index: Tensor) -> Tensor:
        return torch.eye(2)[index % 2]


def choice(cls: type, kind: str = "embedding", name: str | None = None, **keys: Any) -> Choice:
    return Choice(kind, name or cls.__name__.lower(), cls, cls.Config(**keys))


def state(iteration: int = 0, **changes: Any) -> SimpleNamespace:
    made = SimpleNamespace(
        seed=3, nimg=8 * iteration, iteration=iteration, batch=8, device=torch.device("cpu"), dtype=torch.float32,
        dataset=Toy(), recorded={}, micro_batch=100_000, rows=lambda n: slice(0, n), gather=lambda rows: rows,
    )  # fmt: skip
    made.record = lambda name, value: made.recorded.setdefault(name, []).append(value)
    vars(made).update(changes)
    return made


def step(x: Tensor, labels: Tensor | None = None) -> SimpleNamespace:
    seen = SimpleNamespace(
        x=x.clone().requires_grad_(), labels=labels, labels_cpu=labels, gather=lambda rows: rows
    )  # fmt: skip
    seen.own = seen
    return seen


def images(n: int = 8, seed: int = 7) -> Tensor:
    return torch.randn(n, *PIXELS, generator=torch.Generator().manual_seed(seed))


def loss(at: SimpleNamespace, **keys: Any) -> EmbeddingLoss:
    keys = {"embeddings": (choice(Flat), choice(Mix)), "kernel": choice(Gauss, "kernel"), "real_batch": 16} | keys
    part = EmbeddingLoss(EmbeddingLoss.Config(**keys))
    part.setup(state=at)
    return part


def run(part: EmbeddingLoss, at: SimpleNamespace, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Value and gradient at x."""
    seen = step(x, labels)
    term = part.auxiliary_loss(state=at, step=seen)
    assert term.name == "embedding" and term.value.shape == ()
    return term.value, term.grad


def by_hand(part: EmbeddingLoss, at: SimpleNamespace, x: Tensor, biased: bool = False) -> tuple[Tensor, Tensor]:
    """The mean over embeddings with one graph for everything; first step only: the bandwidth is the batch's own."""
    x = x.clone().requires_grad_()
    total = torch.zeros(())
    for net in part.nets:
        fake, real = net(x), net(at.dataset.images(part._index(at)))
        total = total + mmd2(fake, real, part.kernel, bandwidth2(fake, real), biased=biased) / len(part.nets)
    return total.detach(), torch.autograd.grad(total, x)[0]
