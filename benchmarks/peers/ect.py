"""ECT beside its authors' loop: python benchmarks/peers/ect.py --checkout PATH, of github.com/locuslab/ect.

Their network and loss, and the order of their updates: gradients made finite, RAdam, the average.
"""

from __future__ import annotations

import argparse

import torch
from ours import (
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

from distillkit.train.state import State

DROPOUT = 0.2


def state(args: argparse.Namespace) -> State:
    optimizer = {"name": "radam", "lr": 1e-4, "betas": [0.9, 0.999], "eps": 1e-8}
    return started(args, 0, DROPOUT, generator_loss={"use": "ect", "q": 2}, generator={"optimizer": optimizer})


def ours(args: argparse.Namespace) -> Iterate:
    return iterations(state(args))


def theirs(args: argparse.Namespace) -> Iterate:
    on_path(args)
    from training.loss import ECMLoss
    from training.networks import ECMPrecond

    # The masks of dropout are repeated by the generator of the device, which is the CPU here.
    torch.cuda.get_rng_state, torch.cuda.set_rng_state = torch.get_rng_state, torch.set_rng_state
    net, ema = (ECMPrecond(RESOLUTION, 3, 0, **song_unet(args, DROPOUT)) for _ in range(2))
    copy_weights(state(args), [net, ema])
    net.train().requires_grad_(True)
    ema.eval().requires_grad_(False)
    loss_fn = ECMLoss(q=2)
    loss_fn.update_schedule(0)
    optimizer = torch.optim.RAdam(net.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8)
    images, _ = batches(args, 0)

    def iterate() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_fn(net, as_float(images)).mean().backward()
        made_finite(net)
        optimizer.step()
        averaged(ema, net, 0.9999)

    return iterate


if __name__ == "__main__":
    compare(options(__doc__), {"ours": ours, "theirs": theirs}, {"": 0.97})
