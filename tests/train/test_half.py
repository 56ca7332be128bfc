"""A teacher whose weights lie in bfloat16: how far its denoised images are, and who has its full weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.testing import toy_state
from distillkit.testing.training import run
from distillkit.train import half
from distillkit.train.state import State

UNET = {
    "use": "edm-ddpmpp", "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4],
    "dropout": 0.1,
}  # fmt: skip
NETWORKS: dict[str, dict[str, Any]] = {
    "ddpmpp": UNET,
    "ncsnpp": {**UNET, "use": "edm-ncsnpp"},
    "adm": {**UNET, "use": "edm-adm"},
    "edm2": {**UNET, "use": "edm2", "channels_per_head": 8},
    "mlp": {"use": "mlp", "width": 32},
}
HALF: dict[str, Any] = {"run": {"teacher_dtype": "bf16"}}


def made(network: dict[str, Any], **more: Any) -> State:
    return toy_state(**{"teacher_score": {"network": network}, "generator_loss": {"use": "sid"}, **more})


def parameters(network: Any) -> list[Tensor]:
    return list(network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("sigma", [0.002, 0.5, 80.0])
def test_what_the_network_adds_to_an_image_is_off_by_two_percent_at_most(name: str, sigma: float) -> None:
    full, ours = made(NETWORKS[name]), made(NETWORKS[name], **HALF)
    torch.manual_seed(0)
    x, labels = torch.randn(8, 2, 8, 8) * (sigma**2 + 0.25) ** 0.5, torch.eye(3)[torch.arange(8) % 3]
    with torch.no_grad():
        exact, found = (state.teacher_score(x, sigma, labels) for state in (full, ours))
    added = exact - 0.25 / (sigma**2 + 0.25) * x  # c_skip x: (D - x) / sigma^2 bears no rounding of the rest
    assert found.dtype == torch.float32
    assert 0 < (found - exact).norm() < 0.02 * added.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_students_begin_with_the_full_weights_and_weights_of_the_teacher_take_half(name: str) -> None:
    full, ours = made(NETWORKS[name]), made(NETWORKS[name], **HALF)
    assert full.teacher is not None and ours.teacher is not None
    for network in ours.networks:
        pairs = zip(parameters(full.networks[network]), parameters(ours.networks[network]), strict=True)
        assert all(torch.equal(a, b) and b.dtype == torch.float32 for a, b in pairs)
    whole, rounded = parameters(full.teacher.network), parameters(ours.teacher.network)
    assert all(torch.equal(a.bfloat16(), b) for a, b in zip(whole, rounded, strict=True))
    assert full.networks.keys() == {"generator", "fake_score"}


def test_an_iteration_goes_nearly_the_same_way() -> None:
    full, ours = (run(made(UNET, **more), 1).networks["fake_score"] for more in ({}, HALF))
    start = made(UNET).networks["fake_score"]
    way = torch.cat([(a - b).flatten() for a, b in zip(parameters(full), parameters(start), strict=True)])
    apart = torch.cat([(a - b).flatten() for a, b in zip(parameters(full), parameters(ours), strict=True)])
    assert apart.norm() <= 0.1 * way.norm()


def test_a_weight_that_layers_share_stays_one_and_a_copy_reads_its_own() -> None:
    one = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    one[1].weight = one[0].weight
    x, names = torch.randn(2, 3), list(one.state_dict())
    expected = copy.deepcopy(one).bfloat16().float()(x)
    half.lower(one, torch.bfloat16)
    assert torch.equal(one(x), expected) and list(one.state_dict()) == names
    assert one._modules["0"]._parameters["weight"] is one._modules["1"]._parameters["weight"]  # type: ignore[union-attr]
    twin = copy.deepcopy(one)
    with torch.no_grad():
        next(iter(one.parameters())).zero_()
    assert torch.equal(twin(x), expected) and not torch.equal(one(x), expected)
    assert one.compute_dtype == torch.bfloat16  # type: ignore[comparison-overlap]


def test_a_network_that_would_round_its_images_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from distillkit.builtin.mlp import MlpDenoiser

    forward = MlpDenoiser.forward
    monkeypatch.setattr(
        MlpDenoiser, "forward", lambda self, x, *given: forward(self, x.to(next(self.parameters()).dtype), *given)
    )
    with pytest.raises(UsageError, match=r"^run.teacher_dtype: .* casts its images to the dtype of its weights$"):
        made({"use": "mlp", "width": 8}, **HALF)


def test_without_a_teacher_that_is_a_network_it_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^run.teacher_dtype: the recipe has no teacher that is a network$"):
        toy_state(
            **HALF, dataset={"use": "gaussian-mixture", "size": 64}, teacher_score={"use": "gaussian-mixture"},
            generator={"init": "scratch", "network": {"use": "mlp", "width": 8}},
        )  # fmt: skip
