"""SiD beside its authors' loop: python benchmarks/peers/sid.py --checkout PATH, of github.com/mingyuanzhou/SiD.

Their networks and loss, and the order of their updates: the fake score's, then the generator's, each with gradients
made finite, then the average.
"""

from __future__ import annotations

import argparse

import torch
from ours import (
    CLASSES,
    RESOLUTION,
    as_float,
    averaged,
    batches,
    copy_weights,
    iterations,
    made_finite,
    on_path,
    song_unet,
    started,
)
from pairs import Iterate, compare, options
from torch import Tensor, nn

from distillkit.train.state import State

DROPOUT, SIGMA, LR, BETAS = 0.13, 2.5, 1e-5, (0.0, 0.999)


def state(args: argparse.Namespace) -> State:
    return started(
        args, CLASSES, DROPOUT, generator_loss={"use": "sid", "alpha": 1.2, "lr": LR, "betas": list(BETAS)},
        generator={"optimizer": {"name": "adam", "lr": LR, "betas": list(BETAS), "eps": 1e-8}},
        sample={"use": "one-step", "sigma_init": SIGMA},
    )  # fmt: skip


def ours(args: argparse.Namespace) -> Iterate:
    return iterations(state(args))


class Theirs:
    """An iteration of their loop."""

    def __init__(self, args: argparse.Namespace) -> None:
        on_path(args)
        from training.networks import EDMPrecond
        from training.sid_loss import SID_EDMLoss

        nets = [EDMPrecond(RESOLUTION, 3, CLASSES, **song_unet(args, DROPOUT)) for _ in range(4)]
        copy_weights(state(args), nets)
        self.phi, self.psi, self.G, self.ema = (net.eval().requires_grad_(False) for net in nets)
        self.optimizers = {
            net: torch.optim.Adam(net.parameters(), lr=LR, betas=BETAS, eps=1e-8) for net in (self.psi, self.G)
        }
        self.loss, self.data, self.batch = SID_EDMLoss(), batches(args, CLASSES), args.batch

    def __call__(self) -> None:
        self.begin(self.psi)
        images, labels = self.generated()
        self.update(self.psi, self.loss(fake_score=self.psi, images=images, labels=labels).sum() / self.batch)
        self.begin(self.G)
        images, labels = self.generated()
        loss = self.loss.generator_loss(self.phi, self.psi, images, labels, alpha=1.2, tmax=800)
        self.update(self.G, loss.sum() * (100 / self.batch))
        averaged(self.ema, self.G, 0.999)

    def begin(self, net: nn.Module) -> None:
        net.train().requires_grad_(True)
        self.optimizers[net].zero_grad(set_to_none=True)

    def generated(self) -> tuple[Tensor, Tensor]:
        images, labels = as_float(self.data[0]), self.data[1]
        z = SIGMA * torch.randn_like(images)
        return self.G(z, SIGMA * torch.ones(len(z), 1, 1, 1), labels, augment_labels=torch.zeros(len(z), 9)), labels

    def update(self, net: nn.Module, loss: Tensor) -> None:
        loss.backward()
        loss.item()  # printed
        net.eval().requires_grad_(False)
        made_finite(net)
        self.optimizers[net].step()


if __name__ == "__main__":
    compare(options(__doc__), {"ours": ours, "theirs": Theirs}, {"": 0.95})
