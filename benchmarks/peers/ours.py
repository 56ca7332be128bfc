"""Our side: a recipe of the peer's method, with EDM's U-Net of random weights and random images in memory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from pairs import Iterate
from torch import Tensor, nn

from distillkit.testing import toy_state
from distillkit.train.iterate import iterate
from distillkit.train.state import State

RESOLUTION, CLASSES, IMAGES = 32, 10, 1000
MULT, AUGMENT = [2, 2, 2], 9  # CIFAR-10's DDPM++, but for its channels


def started(args: argparse.Namespace, label_dim: int, dropout: float, **tables: Any) -> State:
    """A run of `tables` that has not begun; dropout of generator and critics."""
    network = {
        "use": "edm-ddpmpp", "model_channels": args.channels, "channel_mult": MULT, "num_blocks": args.blocks,
        "augment_dim": AUGMENT, "dropout": dropout,
    }  # fmt: skip
    tables["generator"] = {"init": "teacher", "dropout": dropout, "ema": "halflife", **tables["generator"]}
    return toy_state(
        run={"kimg": 1000, "batch": args.batch, "device": "cpu", "precision": args.precision, "compile": args.compile},
        dataset={"use": "toy", "resolution": RESOLUTION, "channels": 3, "label_dim": label_dim, "size": IMAGES},
        teacher_score={"network": network}, **tables,
    )  # fmt: skip


def iterations(state: State, n: int = 1) -> Iterate:
    return lambda: [iterate(state) for _ in range(n)]


def song_unet(args: argparse.Namespace, dropout: float) -> dict[str, Any]:
    """Arguments of the same network where it is called as in NVlabs/edm."""
    return {
        "model_type": "SongUNet", "model_channels": args.channels, "channel_mult": MULT, "num_blocks": args.blocks,
        "augment_dim": AUGMENT, "dropout": dropout, "embedding_type": "positional", "encoder_type": "standard",
        "decoder_type": "standard", "channel_mult_noise": 1, "resample_filter": [1, 1],
    }  # fmt: skip


def copy_weights(state: State, networks: list[nn.Module]) -> None:
    """Our teacher's weights in their networks, by name; what they have besides stays."""
    assert state.teacher and isinstance(state.teacher.network, nn.Module), "all of these recipes have a teacher"
    for network in networks:
        wrong = network.load_state_dict(state.teacher.network.state_dict(), strict=False)
        if wrong.unexpected_keys:
            raise SystemExit(f"the peer's network has no {wrong.unexpected_keys[0]}")


def batches(args: argparse.Namespace, label_dim: int) -> tuple[Tensor, Tensor]:
    """What a loader of theirs has ready at no cost: images uint8 [N,3,H,W] and labels [N,L]."""
    images = torch.randint(256, (args.batch, 3, RESOLUTION, RESOLUTION), dtype=torch.uint8)
    return images, torch.eye(label_dim)[torch.arange(args.batch) % label_dim] if label_dim else torch.zeros(1, 0)


def as_float(images: Tensor) -> Tensor:
    """uint8 -> [-1,1], as all of them do."""
    return images.to(torch.float32) / 127.5 - 1


def made_finite(network: nn.Module) -> None:
    """What EDM's loops do before an optimizer's step."""
    for p in network.parameters():
        if p.grad is not None:
            torch.nan_to_num(p.grad, nan=0, posinf=1e5, neginf=-1e5, out=p.grad)


def averaged(ema: nn.Module, network: nn.Module, beta: float) -> None:
    """What EDM's loops do after it."""
    for p_ema, p in zip(ema.parameters(), network.parameters(), strict=True):
        p_ema.copy_(p.detach().lerp(p_ema, beta))


def on_path(args: argparse.Namespace) -> None:
    """Make what is in the checkout importable, before files here that have its names."""
    sys.path.insert(0, str(Path(args.checkout).resolve()))
