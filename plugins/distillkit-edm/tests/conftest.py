"""Reference numbers and the tiny networks they were made with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from distillkit_edm.networks import Adm, DdpmPP, NcsnPP
from distillkit_edm.precond import EdmPrecond
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))  # for nvidia_files and nvidia_hostile
DATA = Path(__file__).parent / "data"
SMALL = {"channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (8,)}
# name -> component, config, label_dim
TINY = {
    "edm_songunet_tiny": (DdpmPP, {"model_channels": 16, **SMALL, "channel_mult": (1, 2, 2), "augment_dim": 9}, 10),
    "edm_ncsnpp_tiny": (NcsnPP, {"model_channels": 16, **SMALL, "augment_dim": 9}, 0),
    "edm_adm_tiny": (Adm, {"model_channels": 32, **SMALL}, 7),
    "sid_tiny": (DdpmPP, {"model_channels": 8, **SMALL, "augment_dim": 9}, 10),
    "sida_tiny": (DdpmPP, {"model_channels": 8, **SMALL, "augment_dim": 9}, 10),
}


@pytest.fixture
def edm_data() -> Callable[[str], dict[str, Tensor]]:
    """Arrays of a reference file by name; strings stay numpy."""

    def read(name: str) -> dict[str, Tensor]:
        with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
            return {k: v if v.dtype.kind == "U" else torch.from_numpy(v) for k, v in arrays.items()}

    return read


@pytest.fixture
def edm_tiny(edm_data: Callable[[str], dict[str, Tensor]]) -> Callable[..., EdmPrecond]:
    """A tiny network with the reference's weights, in eval mode."""

    def make(name: str, **config: object) -> EdmPrecond:
        cls, keys, label_dim = TINY[name]
        net = cls(cls.Config(**{**keys, **config})).module(16, 3, label_dim)
        net.load_state_dict(edm_data(f"{name}_state_dict"))
        return net.eval().requires_grad_(False)

    return make
