"""What an iteration of Diff-Instruct costs: nine forward passes' worth of work, and no gradients that nobody needs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from distillkit.testing import toy_state
from distillkit.train.iterate import iterate

UNET = {
    "use": "edm-ddpmpp", "model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.1,
}  # fmt: skip


def flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_an_iteration_costs_nine_forward_passes() -> None:
    state = toy_state(teacher_score={"network": UNET}, generator_loss={"use": "diff-instruct"})
    x = torch.zeros(state.batch, *state.dataset.shape)
    with torch.no_grad():
        forward = flops(lambda: state.ema(x, torch.ones(()), None))
    assert flops(lambda: iterate(state)) <= 1.02 * 9 * forward
    assert all(p.grad is None and not p.requires_grad for p in state.teacher.network.parameters())
