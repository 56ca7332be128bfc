"""Blocks that are computed again in the backward pass: the same bits, whatever drops, in less memory."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distillkit.dry.meta import Live
from distillkit.testing import toy_state, toys
from distillkit.testing.training import copied, differences, run
from distillkit.train import recompute
from distillkit.train.state import State

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.3,
}  # fmt: skip
EDM2 = {
    "use": "edm2", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "channels_per_head": 4, "logvar_channels": 4, "dropout": 0.3,
}  # fmt: skip
EL = [{"use": "embedding", "weight": "auto", "real_batch": 16, "embeddings": [{"use": "convnet"}]}]
GDD = {"projection": 4, "width": 16, "embedding": 8, "cmap": 4, "r1_every": 2, "end_size": 4}
CASES: dict[str, dict[str, Any]] = {
    "sid, an embedding loss, micro-batches": {
        "generator_loss": {"use": "sid"}, "auxiliary_loss": EL, "run": {"micro_batch": 4},
    },
    "edm2, its own error, in bf16": {
        "generator_loss": {"use": "sida", "logvar": True}, "teacher_score": {"network": EDM2},
        "run": {"precision": "bf16"},
    },
    "a discriminator and its penalty": {"generator_loss": {"use": "gdd", **GDD}, "generator": {"dropout": 0.3}},
    "a critic's head": {"generator_loss": {"use": "dmd2", "warmup_kimg": 0.0}, "generator": {"dropout": 0.3}},
    "a copy that follows": {"generator_loss": {"use": "cd", "mu": 0.9}},
}  # fmt: skip


def made(again: bool, **tables: Any) -> State:
    torch.manual_seed(0)
    network = {"teacher_score": {"network": UNET}, "run": {"checkpoint_activations": again}}
    state = toy_state(**toys.merged(network, tables))
    for trained in state.networks.values():  # blocks start with zeros behind dropout
        toys.perturbed(trained)
    return state


@pytest.mark.parametrize("case", CASES)
def test_not_one_bit_changes(case: str) -> None:
    plain, ours = (copied(run(made(again, **CASES[case]), 2)) for again in (False, True))
    assert differences(plain, ours) == []


def test_a_pass_holds_what_enters_blocks_and_one_block_at_a_time() -> None:
    peaks = []
    for again in (False, True):
        state = run(made(again, generator_loss={"use": "sid"}), 1)
        with Live(torch.device("cpu")) as live:
            run(state, 1)
        peaks.append(live.peak)
    assert peaks[1] < 0.5 * peaks[0]


class Inner(nn.Module):
    """Counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.passes = nn.Linear(3, 3), 0

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        self.passes += 1
        return torch.tanh(self.linear(x)) * scale


class Stranger(nn.Module):
    """Has a list that is called as our method is, and a list in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Inner(), nn.ModuleList([Inner()])])  # type: ignore[list-item]

    def forward(self, x: Tensor) -> Tensor:
        first, (second,) = self.blocks  # type: ignore[misc]
        return second(first(x, scale=2.0))  # type: ignore[has-type, no-any-return]


def test_the_members_of_lists_are_blocks_where_a_network_names_none() -> None:
    network = Stranger()
    names, (first, second) = list(network.state_dict()), recompute.blocks(network)
    plain = copy.deepcopy(network)
    recompute.recompute([network])
    twin, x = copy.deepcopy(network), torch.randn(2, 3, requires_grad=True)
    for each in (network, twin, plain):
        each(x).sum().backward()
    (ours, theirs), unlike = recompute.blocks(twin), recompute.blocks(plain)
    assert [block.passes for block in (first, second, ours, theirs, *unlike)] == [2, 2, 2, 2, 1, 1]
    assert list(network.state_dict()) == names and type(first).__name__ == "Inner" and isinstance(first, Inner)
    grads = [[p.grad for p in each.parameters()] for each in (network, twin, plain)]
    assert all(torch.equal(a, c) and torch.equal(b, c) for a, b, c in zip(*grads, strict=True))


def test_passes_without_gradients_are_made_once() -> None:
    network = Stranger()
    recompute.recompute([network])
    with torch.no_grad():
        network(torch.randn(2, 3))
    assert [block.passes for block in recompute.blocks(network)] == [1, 1]


def test_a_block_that_keeps_statistics_of_its_passes_is_left_as_it_is() -> None:
    network = nn.ModuleList([nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), Inner()])
    before = [type(block) for block in network]
    recompute.recompute([network])
    assert [type(block) is cls for block, cls in zip(network, before, strict=True)] == [True, False]


def test_without_blocks_it_is_refused() -> None:
    assert recompute.refused([nn.Linear(3, 3)]).startswith("no network has blocks: ")
    plain = nn.ModuleList([nn.BatchNorm1d(3)])
    assert recompute.refused([plain]) and not recompute.refused([plain, Stranger()])
