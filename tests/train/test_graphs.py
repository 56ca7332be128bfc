"""Each network that we ship is one graph for torch's compiler, whatever is asked of it, dropout included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from distillkit import noise
from distillkit.api.network import METHODS
from distillkit.testing import toys

LEVEL = {"model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [8], "dropout": 0.1}
FAMILIES: dict[str, dict[str, Any]] = {
    "edm-ddpmpp": LEVEL, "edm-ncsnpp": LEVEL, "edm-adm": {**LEVEL, "channels_per_head": 8},
    "edm2": {**LEVEL, "channels_per_head": 8, "logvar_channels": 8}, "mlp": {"width": 8, "depth": 1},
    **{use: {"patch_size": 2, "hidden_size": 16, "depth": 2, "num_heads": 2} for use in ("dit", "sit", "flow-dit")},
    "text-dit": {"patch_size": 2, "hidden_size": 16, "depth": 2, "num_heads": 2, "tokens": 1, "token_width": 2},
}  # fmt: skip
GRAPH_BREAKS = 0


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_graph_is_broken(family: str) -> None:
    state = toys.toy_state(teacher_score={"network": {"use": family, **FAMILIES[family]}})
    x, labels, network = torch.zeros(4, *state.dataset.shape), torch.eye(3)[torch.arange(4) % 3], state.generator
    sigma = torch.ones(4, 1, 1, 1)
    asked = ["forward", *(name for name in METHODS if hasattr(network, name))]
    assert {"logvar", "encoder_decoder"} & {*asked} or family == "mlp"
    for name in asked:
        given = (sigma,) if name == "logvar" else (x, sigma, labels)
        torch.compiler.reset()
        with noise.masks(0, 0, 4):
            found = torch._dynamo.explain(getattr(network.train(), name))(*given)
        assert found.graph_break_count == GRAPH_BREAKS, (name, found.break_reasons[:1])
