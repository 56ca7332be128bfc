"""The adversarial term beside hosts with and without a fake score."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from distillkit.api import UsageError
from distillkit.testing import replayed, toy_state
from distillkit.train.iterate import iterate
from distillkit.train.state import State

UNET = {"use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}


def state(host: dict[str, Any], **table: Any) -> State:
    if host["use"].startswith("dmd"):
        host = {**host, "warmup_kimg": 0.0, "lr": 1e-3}  # both scores are the same until it moves
    recipe = {"teacher_score": {"network": UNET}, "generator_loss": host}
    return toy_state(**recipe, auxiliary_loss=[{"use": "adversarial", **table}])


@pytest.mark.parametrize(
    ("host", "features"),
    [({"use": "toy"}, "teacher"), ({"use": "dmd"}, "fake_score"), ({"use": "dmd2"}, "guidance"),
     ({"use": "sid", "shared_forward": True}, "fake_score"), ({"use": "diff-instruct"}, "fake_score")],
)  # fmt: skip
def test_the_term_runs_beside_any_host_on_its_fake_score_or_the_teacher(host: dict[str, Any], features: str) -> None:
    world = state(host)
    part = world.components["auxiliary_loss.0"]
    found = world.networks.get(features, world.teacher.network)
    assert part.features is getattr(found, "fake_score", found)
    maker = next(turn.name for turn in world.turns if "generator" in turn.trains)
    own = world.turns[-1]
    assert (own.name, own.trains, own.same_images_as) == ("adversarial", ("adversarial",), maker)
    head = [p.clone() for p in part.classifier.parameters()]
    for _ in range(6):
        iterate(world)
    assert world.skipped == 0
    assert all(not torch.equal(a, b) for a, b in zip(head, part.classifier.parameters(), strict=True))
    assert all(p.grad is None for p in world.teacher.network.parameters())
    means = world.records.means()
    assert means["weight/adversarial"] > 0 and means["loss/adversarial"] > 0


def test_a_host_without_critics_keeps_its_own_turn_first() -> None:
    assert [turn.name for turn in state({"use": "toy"}).turns] == ["generator", "adversarial"]


def test_the_classifier_learns_to_tell_generated_from_real() -> None:
    world = state({"use": "toy"}, lr=1e-3, diffusion_gan_max_timestep=300, weight=0.0)
    world.turns = world.turns[1:]
    first = None
    for i in range(40):
        iterate(world)
        if i == 4:
            first = world.records.means()["loss/adversarial"]
            world.records.clear()
    world.records.clear()
    for _ in range(5):
        iterate(world)
    assert world.records.means()["loss/adversarial"] < first


def test_a_host_and_teacher_without_encoders_are_refused() -> None:
    points = {
        "dataset": {"use": "gaussian-mixture"}, "teacher_score": {"use": "gaussian-mixture"},
        "generator": {"init": "scratch", "network": {"use": "mlp"}},
    }  # fmt: skip
    with pytest.raises(UsageError, match="a teacher in closed form has none"):
        toy_state(**points, auxiliary_loss=[{"use": "adversarial"}])


def test_on_a_straight_path_it_is_the_gan_of_realuid() -> None:
    """Against its authors' numbers, whose logits are <x_t, W> + 0.1 at x_t = t x + (1 - t) n."""
    with np.load(Path(__file__).parent / "data" / "realuid_gan_io.npz") as numbers:
        io = {key: torch.from_numpy(numbers[key]) for key in numbers.files}
    low, x = 1e-3, io["x_gen"].clone().requires_grad_()
    world = state({"use": "toy"}, flow_from=low)
    part: Any = world.components["auxiliary_loss.0"]
    part.features = SimpleNamespace(encoder_features=lambda x, sigma, labels: [x / (1 + sigma)])
    part.classifier = lambda maps: (maps[0] * io["W"]).flatten(1).sum(1, keepdim=True) + 0.1
    draws = [((io["t"] - low) / (1 - low)).view(-1, 1, 1, 1), io["x0"]]
    step = replayed(world, draws, x)
    term = part.auxiliary_loss(step)
    term.value.backward()
    torch.testing.assert_close(term.value, io["gan_gen_loss"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x.grad, io["gan_gen_grad_x"], rtol=1e-4, atol=1e-6)
    step = replayed(world, draws * 2, io["x_gen"], io["x_data"])
    torch.testing.assert_close(-part.head_loss(world, step).mean(), io["gan_disc_loss"], rtol=1e-4, atol=1e-5)
