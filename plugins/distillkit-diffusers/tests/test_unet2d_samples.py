"""Six steps of diffusers' schedulers over its U-Net, by our samplers over ours."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distillkit_diffusers.networks import Unet2d

from distillkit.api import Sample
from distillkit.builtin.euler import Ddim, Euler
from distillkit.builtin.heun import Heun
from distillkit.builtin.levels import levels

DATA = Path(__file__).parent / "data"
OURS = {"sample_size", "in_channels", "out_channels", "num_class_embeds", "time_embedding_type", "num_train_timesteps"}


@pytest.mark.parametrize("name", ["unet2d_tiny_io", "unet2d_class_tiny_io"])
@pytest.mark.parametrize(
    ("scheduler", "kind", "grid"), [("ddim", Ddim, "leading"), ("euler", Euler, "linspace"), ("heun", Heun, "linspace")]
)
def test_six_steps_are_those_of_diffusers(name: str, scheduler: str, kind: type[Sample], grid: str) -> None:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
        io = {k: v if v.dtype.kind == "U" else torch.from_numpy(v) for k, v in arrays.items()}
    given = {k: v for k, v in json.loads(str(io["config_json"])).items() if not k.startswith("_") and k not in OURS}
    keys: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None}
    labels = F.one_hot(io["class_labels"], 5).float() if "class_labels" in io else None
    # Euler's and Heun's ask between two indices; ours are even in ln sigma there, theirs in sigma.
    net = Unet2d(Unet2d.Config(**keys, interpolated=True)).module(8, 3, 0 if labels is None else 5)
    net.model.load_state_dict({k.removeprefix("sd/"): v for k, v in io.items() if k.startswith("sd/")})
    net.eval().requires_grad_(False)
    sampler: Any = kind(kind.Config(steps=6, grid=grid))
    top = levels(net, sampler.config)[0]
    # DDIM's first noise is z at an index that leaves some signal.
    first = (1 + top**2) ** 0.5 / top if scheduler == "ddim" else 1.0
    x = sampler.sample(SimpleNamespace(generator=net, seed=0), io["z"] * first, labels)
    want = io[f"sample6_{scheduler}"]
    error = float((x - want).norm() / want.norm())
    assert error < (1e-5 if scheduler == "ddim" else 1e-4)
