"""The U-Net against diffusers' numbers, and as a denoiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distillkit_diffusers.denoiser import UNetDenoiser
from distillkit_diffusers.networks import Unet2d
from torch import Tensor

from distillkit.convert import to_x0

DATA = Path(__file__).parent / "data"
NEAR: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
NAMES = ["unet2d_tiny_io", "unet2d_class_tiny_io"]
OURS = {"sample_size", "in_channels", "out_channels", "num_class_embeds", "time_embedding_type", "num_train_timesteps"}


def reference(name: str) -> dict[str, Any]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
        return {k: v if v.dtype.kind == "U" else torch.from_numpy(v) for k, v in arrays.items()}


def net(io: dict[str, Any]) -> UNetDenoiser:
    """The network of the reference's config, with its weights."""
    given = {k: v for k, v in json.loads(str(io["config_json"])).items() if not k.startswith("_") and k not in OURS}
    keys: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None}
    made = Unet2d(Unet2d.Config(**keys)).module(8, 3, 5 if "class_labels" in io else 0)
    made.model.load_state_dict({k.removeprefix("sd/"): v for k, v in io.items() if k.startswith("sd/")})
    return made.eval().requires_grad_(False)


def one_hot(io: dict[str, Any]) -> Tensor | None:
    return F.one_hot(io["class_labels"], 5).float() if "class_labels" in io else None


@pytest.mark.parametrize("name", NAMES)
def test_the_network_is_diffusers(name: str) -> None:
    io = reference(name)
    unet, t = net(io).model, io["t_index"].double()
    torch.testing.assert_close(unet.features(t), io["t_emb"], **NEAR)
    torch.testing.assert_close(unet(io["x"], t, one_hot(io)), io["out"], **NEAR)
    torch.testing.assert_close(unet(io["x"], t + 0.5, one_hot(io)), io["out_fractional_t"], **NEAR)


@pytest.mark.parametrize("name", NAMES)
def test_its_denoiser_and_noise_levels_are_diffusers(name: str) -> None:
    io = reference(name)
    made = net(io)
    t, labels = io["t_index"].double(), one_hot(io)
    torch.testing.assert_close(made.schedule.sigma(torch.arange(1000.0).double()), io["sigmas_of_t"], **NEAR)
    a, b = (each.float().reshape(-1, 1, 1, 1) for each in made.schedule.a_b(t))
    torch.testing.assert_close(a * io["images"] + b * io["noise"], io["add_noise"], **NEAR)
    sigma = made.schedule.sigma(t).reshape(-1, 1, 1, 1)
    x_0 = io["pred_original"]
    near: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5 * float(x_0.abs().max())}
    torch.testing.assert_close(
        to_x0("eps", io["eps"], io["add_noise"], t.reshape(-1, 1, 1, 1), made.schedule), x_0, **near
    )
    torch.testing.assert_close(made((1 + sigma**2).sqrt() * io["add_noise"], sigma, labels), x_0, **near)
