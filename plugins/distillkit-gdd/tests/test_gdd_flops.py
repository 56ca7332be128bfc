"""No pass through a network too many: one iteration of GDD in forward passes of the generator."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distillkit.testing import toy_state
from distillkit.train.iterate import iterate

UNET = {
    "use": "edm-ddpmpp", "model_channels": 32, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [],
    "dropout": 0.0,
}  # fmt: skip
SMALL = {"width": 8, "projection": 1, "cmap": 1, "embedding": 1, "backbones": [{"use": "teacher-encoder"}]}


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def measured(use: str) -> tuple[float, float]:
    """Cost of an iteration without R1, and of the teacher's encoder, in forward passes of the batch."""
    state = toy_state(generator_loss={"use": use, **SMALL}, teacher_score={"network": UNET})
    iterate(state)
    net, x = state.teacher.network, torch.zeros(state.batch, 2, 8, 8)
    given = x, torch.ones(len(x), 1, 1, 1), torch.zeros(len(x), 3)
    one = flops(lambda: net(*given))
    return flops(lambda: iterate(state)) / one, flops(lambda: net.encoder_features(*given)) / one


def test_gdd_costs_what_it_must() -> None:
    """Generator: G, back through it 2, encoder there and back. Discriminator: G, encoder on fake and real images."""
    cost, encoder = measured("gdd")
    assert 0.1 < encoder < 0.5
    assert cost == pytest.approx(4 + 4 * encoder, rel=0.03)


def test_gdd_i_makes_no_gradients_of_frozen_weights() -> None:
    (full, _), (frozen, _) = measured("gdd"), measured("gdd-i")
    assert 0.6 < full - frozen < 1  # of the pass that gradients of all weights cost
