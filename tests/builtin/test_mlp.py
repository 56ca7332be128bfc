"""The small network's halves: methods that look into a U-Net's encoder find one here too."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distillkit.builtin.mlp import Mlp


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_encoder_is_the_first_half_of_one_and_the_same_pass(depth: int, dtype: torch.dtype | None) -> None:
    torch.manual_seed(0)
    network = Mlp(Mlp.Config(width=16, depth=depth)).module(1, 2, 3)
    nn.init.normal_(network.out.weight)
    network.compute_dtype = dtype
    x, sigma, labels = 3 * torch.randn(5, 2, 1, 1), torch.rand(5, 1, 1, 1) + 0.1, torch.eye(3)[[0, 1, 2, 0, 1]]
    D, logits = network.encoder_decoder(x, sigma, labels)
    features = network.encoder_features(x, sigma, labels)
    assert torch.equal(D, network(x, sigma, labels)) and torch.equal(logits, network.encoder(x, sigma, labels))
    assert [f.shape for f in features] == [(5, 16, 1, 1)] * ((depth + 1) // 2)
    assert logits.shape == (5, 1, 1, 1) and torch.equal(logits, features[-1].mean(1, keepdim=True))
    assert logits.dtype == torch.float32 and (features[-1] < -0.3).any()  # before SiLU, which ends above -0.279


def test_the_encoder_runs_no_later_layer() -> None:
    network = Mlp(Mlp.Config(width=16, depth=3)).module(1, 2, 0)
    ran = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    network.encoder(torch.randn(5, 2, 1, 1), 0.5)
    assert ran == ["hidden.0", "hidden.1"]
