"""Layer activation: the right layers, values by hand, a figure and its data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from distillkit_gdd.activation import activations, last_convolutions, minmax
from torch import nn

from distillkit.api import UsageError
from distillkit.evaluate.draw import Drawer
from distillkit.testing import toy_state
from distillkit.train.state import State

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.0,
}  # fmt: skip


@pytest.fixture
def state() -> State:
    return toy_state(teacher_score={"network": UNET}, evaluate=[{"use": "layer-activation", "levels": 4, "images": 8}])


def test_the_last_convolution_is_attentions_output_where_there_is_one(state: State) -> None:
    model = state.teacher.network.model
    layers = last_convolutions(state.teacher.network)
    assert layers["encoder/8x8_block0"] is model.enc["8x8_block0"].conv1
    assert layers["encoder/4x4_block0"] is model.enc["4x4_block0"].proj
    assert layers["decoder/4x4_in0"] is model.dec["4x4_in0"].proj
    assert "encoder/8x8_conv" not in layers and "decoder/8x8_aux_conv" not in layers


def test_a_value_is_the_mean_size_of_the_output() -> None:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, -2.0)
    nn.init.constant_(layer.bias, 0.0)
    found = activations(lambda x, sigma, labels: layer(x), {"a": layer}, torch.tensor([[1.0], [3.0]]), None, None)
    assert found == {"a": 4.0} and not layer._forward_hooks


def test_values_are_scaled_over_the_noise_levels() -> None:
    assert minmax(torch.tensor([1.0, 3.0, 2.0])).tolist() == [0, 1, 0.5]
    assert minmax(torch.ones(3)).tolist() == [0, 0, 0]


def test_figure_and_data_go_to_the_runs_folder(state: State, tmp_path: Path) -> None:
    state.figures = tmp_path / "figures"
    (found,) = state.evaluators[0].call(state=state, draw=Drawer.student(state))
    assert set(found) == {"peak_sigma_encoder", "peak_sigma_decoder"}
    assert all(0.002 <= sigma <= 80.001 for sigma in found.values())
    data = json.loads((tmp_path / "figures/layer-activation.json").read_text())
    assert len(data["sigma"]) == 4 and set(data["value"]) == set(last_convolutions(state.teacher.network))
    assert all(len(values) == 4 and min(values) > 0 for values in data["value"].values())
    svg = (tmp_path / "figures/layer-activation.svg").read_text()
    assert svg.count("<title>") == 4 * len(data["value"]) and "encoder/8x8_block0" in svg


def test_a_teacher_without_blocks_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="MlpDenoiser"):
        toy_state(evaluate=[{"use": "layer-activation"}])
