"""A student of another form that starts from the teacher's weights: what does not fit is told, and allowed by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distillkit.api import Choice, InputError, Network, UsageError, field, frozen
from distillkit.convert import Further
from distillkit.networks.transplant import Allowed, transplant
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog
from distillkit.testing.toys import save_network, toy_state
from distillkit.train.state import State

DIT = {"use": "flow-dit", "patch_size": 4, "hidden_size": 8, "depth": 2, "num_heads": 2}


@pytest.fixture
def teacher(tmp_path: Path) -> str:
    catalog = Catalog.installed()
    choice: Choice[Network] = choice_from_table("network", DIT, catalog, where="test")
    data: Any = choice_from_table("dataset", {"use": "digits"}, catalog, where="test").build()
    data.open(tmp_path)
    save_network(tmp_path / "result", choice, data)
    return str(tmp_path / "result")


def student(teacher: str, **generator: Any) -> State:
    return toy_state(
        dataset={"use": "digits"}, teacher_score={"use": "network", "checkpoint": teacher},
        generator={"init": "teacher", **generator}, generator_loss={"use": "sid"},
    )  # fmt: skip


def told(teacher: str, **generator: Any) -> str:
    with pytest.raises(UsageError) as caught:
        student(teacher, **generator)
    return str(caught.value)


def test_what_is_missing_left_over_or_of_another_shape_is_listed(teacher: str) -> None:
    found = told(teacher, network={**DIT, "depth": 3, "mlp_ratio": 2.0})
    assert "weights missing in the teacher: model.blocks.2." in found
    assert "weights of another shape: model.blocks.0.feed_forward.fc1.weight [16, 8] (there [32, 8])" in found
    assert 'generator.new_weights = ["model.blocks.2.*"]' in found
    found = told(teacher, network={**DIT, "depth": 1})
    assert "weights left over: model.blocks.1." in found and "generator.unused_weights" in found


def test_what_is_named_may_differ_and_the_rest_is_the_teachers(teacher: str) -> None:
    state = student(teacher, network_keys={"depth": 3}, new_weights=["model.blocks.2.*"])
    assert state.teacher is not None and state.teacher.network is not None
    own, theirs = state.generator.state_dict(), state.teacher.network.state_dict()
    assert {name for name in own if name not in theirs} and all(torch.equal(own[name], theirs[name]) for name in theirs)
    assert state.networks["fake_score"].state_dict().keys() == theirs.keys(), "critics keep the teacher's form"


def test_the_message_names_patterns_that_allow_it(teacher: str) -> None:
    found = told(teacher, network_keys={"depth": 1})
    patterns = found.partition("generator.unused_weights = [")[2].partition("]")[0]
    student(teacher, network_keys={"depth": 1}, unused_weights=[one.strip(' "') for one in patterns.split(",")])


@pytest.mark.parametrize("key", ["new_weights", "unused_weights"])
def test_a_pattern_that_names_nothing_is_a_misspelt_one(teacher: str, key: str) -> None:
    assert f"generator.{key}: no such weight is named like 'bloks.*'" in told(
        teacher, network_keys={"depth": 2}, **{key: ["bloks.*"]}
    )
    assert "the student has the same form" in told(teacher, **{key: ["blocks.*"]})


def test_unknown_keys_and_values_are_refused_as_in_a_recipe(teacher: str) -> None:
    with pytest.raises(InputError, match=r"generator\.network_keys: network\.depht unknown key"):
        student(teacher, network_keys={"depht": 2})


class Guided(Network):
    """The toys' network with a further input that is zero at first, as one of a plugin's."""

    @frozen(kw_only=True)
    class Config:
        guided: bool = field(default=False)
        loud: bool = field(default=False)

    def module(self, resolution: int, channels: int, label_dim: int) -> nn.Module:
        return GuidedNet(resolution, channels, label_dim, self.config.guided, self.config.loud)


class GuidedNet(nn.Module):
    augment_dim, sigma_min, sigma_max, sigma_data, compute_dtype = 0, 0.0, float("inf"), 0.5, None

    def __init__(self, resolution: int, channels: int, label_dim: int, guided: bool, loud: bool) -> None:
        super().__init__()
        self.resolution, self.channels, self.label_dim = resolution, channels, label_dim
        self.body = nn.Linear(channels * resolution**2, channels * resolution**2)
        if guided:
            self.scale = Further(channels * resolution**2)
            if loud:
                nn.init.ones_(self.scale.last.bias)
        self.guided = guided

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, augment_labels: Any = None) -> Tensor:
        added = self.scale(torch.full((len(x), 1), 2.0)) if self.guided else 0
        made: Tensor = (self.body(x.flatten(1)) + added).reshape(x.shape)
        return made


def test_a_further_input_that_is_zero_at_first_needs_no_name(tmp_path: Path) -> None:
    def make(**config: Any) -> nn.Module:
        torch.manual_seed(1)
        return Guided(Guided.Config(**config)).module(4, 1, 0)

    teacher = make()
    torch.manual_seed(2)
    x = torch.randn(3, 1, 4, 4)
    silent = make(guided=True)
    transplant(teacher.state_dict(), silent, Allowed(), "test")
    assert torch.equal(silent(x, torch.ones(3)), teacher(x, torch.ones(3)))
    with pytest.raises(UsageError, match=r"missing in the teacher: scale\.first\.weight"):
        transplant(teacher.state_dict(), make(guided=True, loud=True), Allowed(), "test")
