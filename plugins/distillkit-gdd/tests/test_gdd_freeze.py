"""The frozen sets of the published networks, by name and by count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from distillkit_gdd.freeze import frozen_names
from torch import nn

from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog

NETS = json.loads((Path(__file__).parent / "data" / "gdd_freeze_names.json").read_text())
KEYS = ("model_channels", "channel_mult", "dropout")


def network(kwargs: dict[str, Any]) -> nn.Module:
    """The published network, without storage."""
    adm = kwargs["model_type"] == "DhariwalUNet"
    use = "edm-adm" if adm else "edm-ncsnpp" if kwargs["embedding_type"] == "fourier" else "edm-ddpmpp"
    table = {"use": use, **{key: kwargs[key] for key in KEYS}, "dropout": float(kwargs["dropout"])}
    choice = choice_from_table("network", table, Catalog.installed(), where="test")
    with torch.device("meta"):
        return choice.build().module(kwargs["img_resolution"], kwargs["img_channels"], kwargs["label_dim"])


@pytest.mark.parametrize("name", NETS)
def test_every_level_freezes_exactly_the_published_names(name: str) -> None:
    net = network(NETS[name]["init_kwargs"])
    params = dict(net.named_parameters())
    assert sum(p.numel() for p in params.values()) == NETS[name]["num_params"]
    assert frozen_names(params, 0) == set()
    for level, expected in NETS[name]["freeze"].items():
        frozen = frozen_names(params, int(level))
        assert frozen == set(expected["frozen"])
        assert sum(params[key].numel() for key in frozen) == expected["frozen_params"]
        assert len(params) - len(frozen) == expected["trained"]
