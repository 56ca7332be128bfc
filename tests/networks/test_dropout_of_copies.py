"""[generator] dropout: of every network that starts as a copy of the teacher and trains, as in the papers' code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distillkit.api import Choice
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog
from distillkit.testing.toys import save_network, toy_state

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1], "num_blocks": 1, "attn_resolutions": [],
    "dropout": 0.25,
}  # fmt: skip


def rates(network: torch.nn.Module) -> set[float]:
    return {module.style.dropout for module in network.modules() if hasattr(module, "style")}


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    catalog = Catalog.installed()
    choice: Choice = choice_from_table("network", UNET, catalog, where="test")
    digits = catalog.load("dataset", "digits")
    data = digits(digits.Config())
    data.open(tmp_path)
    save_network(tmp_path / "result", choice, data)
    return str(tmp_path / "result")


@pytest.mark.parametrize("method", ["sid", "dmd2"])
@pytest.mark.parametrize(("dropout", "expected"), [({}, None), ({"dropout": 0.05}, 0.05), ({"dropout": 0.0}, 0.0)])
def test_critics_and_generator_have_it_and_the_teacher_keeps_its_own(
    teacher: str, method: str, dropout: dict[str, float], expected: float | None
) -> None:
    state = toy_state(
        dataset={"use": "digits"},
        teacher_score={"use": "network", "checkpoint": teacher},
        generator={"init": "teacher", **dropout},
        generator_loss={"use": method},
    )
    if expected is None:
        expected = 0.0 if method == "dmd2" else 0.25  # DMD2's published setting is none
    assert rates(state.teacher.network) == {0.25}
    critic = state.networks["fake_score" if method == "sid" else "guidance"]
    assert rates(state.networks["generator"]) == rates(critic) == {expected}
    for name, value in state.teacher.network.state_dict().items():
        assert torch.equal(value, state.networks["generator"].state_dict()[name])
