"""A second noise level and a guidance scale as inputs of the shipped networks, begun on weights that lack them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.api import FlowMap, Network, UsageError
from distillkit.convert import FurtherInputs
from distillkit.networks.transplant import Allowed, transplant
from distillkit.recipe import choice_from_table
from distillkit.registry import Catalog
from distillkit.testing.toys import perturbed

UNET = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": []}
DIT = {"patch_size": 4, "hidden_size": 16, "depth": 2, "num_heads": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 16}, "edm-ddpmpp": UNET, "edm-ncsnpp": UNET, "edm-adm": {**UNET, "channels_per_head": 8},
    "edm2": {**UNET, "channels_per_head": 8}, "dit": DIT, "sit": DIT, "flow-dit": DIT,
}  # fmt: skip
N, L = 3, 4


def module(use: str, labels: int = L, **more: Any) -> Any:
    table = {"use": use, **NETWORKS[use], **more}
    network: Network = choice_from_table("network", table, Catalog.installed(), where="test").build()
    torch.manual_seed(0)
    return network.module(8, 1, labels).eval().requires_grad_(False)


def taught(use: str, labels: int = L, **more: Any) -> tuple[Any, Any]:
    """A teacher of random weights, and a network with further inputs that begins on them; labels of the latter."""
    teacher = perturbed(module(use, labels - bool(more.get("guidance"))))
    student = module(use, labels, **more)
    transplant(teacher.state_dict(), student, Allowed(), "test")
    return teacher, student


def given(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(N, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    return x, torch.tensor([0.3, 1.0, 20.0], dtype=dtype).reshape(N, 1, 1, 1), torch.eye(L)[:N].to(dtype)


def stirred(network: Any) -> Any:
    """Its further inputs as if they had trained."""
    generator = torch.Generator().manual_seed(5)
    for name, p in network.named_parameters():
        if name.startswith("further") or "r_embedder" in name:
            p.add_((0.1 * torch.randn(p.shape, generator=generator)).to(p))
    return network


@pytest.mark.parametrize("use", NETWORKS)
def test_on_a_teachers_weights_it_computes_what_the_teacher_does(use: str) -> None:
    x, sigma, labels = given()
    teacher, jumping = taught(use, second_time=True)
    for r in (None, 0.1, sigma / 2):
        assert torch.equal(jumping(x, sigma, labels, r=r), teacher(x, sigma, labels))
    scaled = torch.cat([labels, torch.tensor([[1.0], [2.0], [7.5]])], 1)
    teacher, guided = taught(use, L + 1, guidance=True)
    assert guided.label_dim == L + 1
    assert torch.equal(guided(x, sigma, scaled), teacher(x, sigma, labels))


@pytest.mark.parametrize("use", NETWORKS)
def test_a_second_level_of_the_first_is_none_and_others_are_seen_in_any_shape(use: str) -> None:
    x, sigma, labels = given()
    net = stirred(taught(use, second_time=True)[1])
    assert isinstance(net, FlowMap) and net.second_time
    D = net(x, sigma, labels)
    torch.testing.assert_close(net(x, sigma, labels, r=sigma), D)
    at = net(x, sigma, labels, r=0.1)
    assert not torch.allclose(at, D)
    for r in (torch.tensor(0.1), torch.full((N,), 0.1), torch.full((N, 1, 1, 1), 0.1)):
        torch.testing.assert_close(net(x, sigma, labels, r=r), at)
    row = net(x[1:2], sigma[1:2], labels[1:2], r=0.1)
    torch.testing.assert_close(row, at[1:2], rtol=1e-4, atol=1e-5)
    assert net(x, sigma, labels, r=0.0).isfinite().all()
    with pytest.raises(UsageError, match="takes no second noise level"):
        module(use)(x, sigma, labels, r=0.1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("use", NETWORKS)
def test_forward_derivatives_go_through_both_levels(use: str, training: bool) -> None:
    keys: dict[str, Any] = {"dropout": 0.0} if use.startswith("edm") else {}
    net = stirred(taught(use, second_time=True, **keys)[1]).double().train(training)
    x, sigma, labels = given(torch.float64)
    r, step = sigma / 3, 1e-6

    def D(x: Tensor, sigma: Tensor, r: Tensor) -> Tensor:
        found: Tensor = net(x, sigma, labels, r=r)
        return found

    moved = sigma * (use != "dit")  # whose steps are whole: sigma moves nothing between two
    tangents = torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).double(), moved, 0.5 * sigma
    derivative: Tensor = torch.func.jvp(D, (x, sigma, r), tangents)[1]
    ahead, behind = (D(*(at + s * step * v for at, v in zip((x, sigma, r), tangents, strict=True))) for s in (1, -1))
    torch.testing.assert_close(derivative, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-6)
    single = net.float()
    derivative = torch.func.jvp(
        lambda x, r: single(x, sigma.float(), labels.float(), r=r), (x.float(), r.float()),
        (tangents[0].float(), tangents[2].float()),
    )[1]  # fmt: skip
    assert derivative.isfinite().all() and derivative.dtype == torch.float32


@pytest.mark.parametrize("use", NETWORKS)
def test_the_scale_is_seen_beside_classes_and_none_is_zero(use: str) -> None:
    x, sigma, labels = given()
    net = stirred(taught(use, L + 1, guidance=True)[1])
    one, two = (net(x, sigma, torch.cat([labels, torch.full((N, 1), scale)], 1)) for scale in (1.0, 2.0))
    assert not torch.allclose(one, two)
    torch.testing.assert_close(net(x, sigma), net(x, sigma, torch.zeros(N, L + 1)))
    with pytest.raises(UsageError, match="there are no labels"):
        module(use, 0, guidance=True)


def test_without_classes_a_scale_alone_is_a_label() -> None:
    inputs = FurtherInputs(5, 1, second_time=True, guidance=True)
    rest, scale = inputs.split(torch.ones(2, 1))
    assert rest is None and scale is not None
    added = inputs(torch.ones(2), 0.5, scale)
    assert added is not None and added.shape == (2, 5) and not added.any()
