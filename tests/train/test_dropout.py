"""Dropout in turns: the masks of an image do not depend on the micro-batch, nor on what else a pass computed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit import noise
from distillkit.noise.masks import here
from distillkit.testing import toy_state
from distillkit.testing.ranks import simulated
from distillkit.testing.toys import perturbed
from distillkit.testing.training import gradients
from distillkit.train import turns
from distillkit.train.iterate import iterate
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

UNET = {
    "use": "edm-ddpmpp", "model_channels": 4, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [],
    "dropout": 0.3,
}  # fmt: skip
LABELS = {"init": "scratch", "network": {**UNET, "label_dropout": 0.5}}
EDM2 = {
    "use": "edm2", "model_channels": 4, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [],
    "channels_per_head": 4, "logvar_channels": 4, "dropout": 0.3,
}  # fmt: skip
EL = [{"use": "embedding", "real_batch": 16, "embeddings": [{"use": "convnet"}]}]
PAIRS = [{"use": "regression", "pairs": 16, "batch": 11, "sampler": {"use": "heun", "steps": 2}}]
CASES: dict[str, dict[str, Any]] = {
    "sid": {"generator_loss": {"use": "sid"}, "auxiliary_loss": EL},
    "shared": {"generator_loss": {"use": "sid", "shared_forward": True}},
    "edm2": {"generator_loss": {"use": "sid"}, "teacher_score": {"network": EDM2}},
    "two blocks": {"generator_loss": {"use": "dmd2", "gan": False}, "generator": {"dropout": 0.3}},
    "same masks twice": {"generator_loss": {"use": "diff-instruct"}},
    "with a target": {"generator_loss": {"use": "cd", "mu": 0.9}},
    "without one": {"generator_loss": {"use": "ect"}},
    "labels": {"generator_loss": {"use": "edm"}, "generator": LABELS},
    "pairs": {"generator_loss": {"use": "dmd"}, "generator": {"dropout": 0.3}, "auxiliary_loss": PAIRS},
}


def ready(micro_batch: int | None, ranks: Ranks | None = None, **tables: Any) -> State:
    """Before its first iteration, with weights that hide nothing: blocks start with zeros behind dropout."""
    run = {"batch": 8, "precision": "fp64"} | ({"micro_batch": micro_batch} if micro_batch else {})
    state = toy_state(ranks, **{"run": run, "teacher_score": {"network": UNET}, **tables})
    torch.manual_seed(0)
    for network in state.networks.values():
        perturbed(network)
    return state


def apart(a: list[tuple[str, Tensor]], b: list[tuple[str, Tensor]]) -> float:
    """The largest difference of a network's gradients, as a share of their norm."""
    pairs = list(zip(a, b, strict=True))
    assert len(pairs) >= 1 and all(float(grad.norm()) > 0 for _, grad in a)
    return max(float((found - grad).norm() / grad.norm()) for (_, grad), (_, found) in pairs)


@pytest.mark.parametrize("case", CASES)
def test_micro_batches_of_8_4_and_2_have_the_same_gradients(case: str) -> None:
    whole = gradients(ready(None, **CASES[case]))
    for micro in (4, 2):
        assert apart(whole, gradients(ready(micro, **CASES[case]))) < 1e-10, micro


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_two_and_three_processes_have_the_gradients_of_one(case: str, ranks: int) -> None:
    """Eight rows are 3 + 3 + 2; eleven pairs are 4 + 4 + 3."""
    alone = gradients(ready(None, **CASES[case]))
    for found in simulated(ranks, lambda rank: gradients(ready(None, rank, **CASES[case]))):
        assert apart(alone, found) < 1e-10


@pytest.mark.parametrize("case", CASES)
def test_there_is_dropout_in_these_cases(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = gradients(ready(None, **CASES[case]))
    monkeypatch.setattr(noise, "dropout", lambda x, p=0.5, training=True: x)
    assert apart(found, gradients(ready(None, **CASES[case]))) > 1e-2


def test_nothing_of_a_turn_is_left_when_it_ends() -> None:
    iterate(ready(None, **CASES["sid"]))
    assert here.masks is None


def test_masks_of_the_fake_score_do_not_depend_on_whether_the_images_were_there() -> None:
    """The same critic's pass, on images made before it and on the same ones made within it."""
    found = []
    for made in (True, False):
        state = toy_state(teacher_score={"network": UNET}, generator_loss={"use": "sid"})
        critic = state.networks["fake_score"]
        seen: list[torch.Tensor] = []
        hook = critic.register_forward_hook(lambda net, args, out, seen=seen: seen.append(out.detach()))
        turn = state.turns[0]
        with turns.training(state, turn):
            (step,) = turns.micro_steps(state, turn, recompute=False)
            if made:
                _ = step.x
            turns.critic_gradients(state, turn, step)
        hook.remove()
        found.append(seen[0])
    assert torch.equal(*found)
