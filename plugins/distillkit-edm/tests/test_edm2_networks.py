"""EDM2's network against the reference: outputs of a tiny one, names and shapes of all released ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from distillkit_edm.edm2.layers import MPConv, MPFourier, mp_cat, mp_silu, mp_sum, normalize
from distillkit_edm.edm2.network import Edm2
from distillkit_edm.edm2.precond import Edm2Precond
from distillkit_edm.nvpickle import mapped
from distillkit_edm.nvpickle.modules import read_tensors, read_tree
from torch import Tensor

from distillkit.api import OncePerTurn, UsageError

close = torch.testing.assert_close
NEAR = {"rtol": 1e-4, "atol": 1e-5}
DATA = Path(__file__).parent / "data"
ARCH = json.loads((DATA / "edm2_arch.json").read_text())
TINY = {"model_channels": 16, "channel_mult": (1, 4), "num_blocks": 1, "attn_resolutions": (8,)}


@pytest.fixture
def io(edm_data: Callable[[str], dict[str, Tensor]]) -> dict[str, Tensor]:
    return edm_data("edm2_tiny_io")


@pytest.fixture
def net(edm_data: Callable[[str], dict[str, Tensor]]) -> Edm2Precond:
    """The reference's tiny network of 4x16x16 latents, in eval mode."""
    return tiny(edm_data)


def tiny(edm_data: Any, **config: object) -> Edm2Precond:
    made = Edm2(Edm2.Config(**TINY, **config)).module(16, 4, 5)
    made.load_state_dict(edm_data("edm2_tiny_state_dict"))
    return made.eval()


def test_denoised_images_are_the_references(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    x, sigma, labels = io["x"], io["sigma"], io["class_labels"]
    close(net(x, sigma, labels), io["denoised"], **NEAR)
    close(net(x, sigma.reshape(-1, 1, 1, 1), labels), io["denoised"], **NEAR)
    close(net(x, sigma), io["denoised_no_labels"], **NEAR)
    close(net(x[:1], 0.002, labels[:1]), io["denoised"][:1], **NEAR)


def test_the_expected_error_is_the_references(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    close(net.logvar(io["sigma"]), io["logvar"], **NEAR)
    close(net.logvar(io["sigma"].reshape(-1, 1, 1, 1)), io["logvar"], **NEAR)
    close(net.logvar(0.002), io["logvar"][:1], **NEAR)


@pytest.mark.parametrize("name", list(ARCH))
def test_names_and_shapes_are_those_of_the_released_checkpoint(name: str) -> None:
    arch, kwargs = ARCH[name], ARCH[name]["init_kwargs"]
    component = Edm2(Edm2.Config(model_channels=kwargs["model_channels"], dropout=kwargs["dropout"]))
    with torch.device("meta"):
        net = component.module(kwargs["img_resolution"], kwargs["img_channels"], kwargs["label_dim"])
    assert {k: list(v.shape) for k, v in net.state_dict().items()} == arch["state_dict"]
    assert sum(p.numel() for p in net.parameters()) == arch["num_params"]


def test_without_logvar_the_rest_keeps_its_names(net: Edm2Precond) -> None:
    names = Edm2(Edm2.Config(**TINY, logvar_channels=0)).module(16, 4, 5).state_dict().keys()
    assert net.state_dict().keys() - names == {"logvar_fourier.freqs", "logvar_fourier.phases", "logvar_linear.weight"}


def test_a_float64_network_works_in_float64(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    net = net.double()
    D = net(io["x"], io["sigma"], io["class_labels"])
    assert D.dtype == net.logvar(io["sigma"]).dtype == torch.float64
    close(D, io["denoised"].double(), **NEAR)


def test_bfloat16_layers_stay_near_and_give_the_parameters_dtype(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    net.compute_dtype = torch.bfloat16
    D = net(io["x"], io["sigma"], io["class_labels"])
    assert D.dtype == torch.float32
    assert not torch.equal(D, io["denoised"])
    close(D, io["denoised"], rtol=0.05, atol=0.05)


def test_the_parts_that_discriminators_use_are_one_network(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    args = io["x"], io["sigma"], io["class_labels"]
    D, logits = net.encoder_decoder(*args)
    features = net.encoder_features(*args)
    close(D, io["denoised"], **NEAR)
    assert [list(f.shape[1:]) for f in features] == [[16, 16, 16], [16, 16, 16], [16, 8, 8], [64, 8, 8]]
    close(logits, features[-1].mean(1, keepdim=True))
    net.unet.dec = None
    close(net.encoder(*args), logits)


def test_logits_of_sidas_generator_are_the_references(edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    """Its hooks normalise the weights once more than a call in evaluation does, and so did the recorded one."""
    io, data = edm_data("sida_edm2_tiny_io"), mapped(DATA / "sida_edm2_tiny.pkl")
    net = Edm2(Edm2.Config(**TINY, logvar_channels=0)).module(16, 4, 5).eval().requires_grad_(False)
    net.load_state_dict(read_tensors(data, read_tree(data)))
    for layer in net.modules():
        if isinstance(layer, MPConv):
            layer.weight.copy_(normalize(layer.weight, tuple(range(1, layer.weight.ndim))))
    D, logits = net.encoder_decoder(io["x"], io["sigma"], io["class_labels"])
    close(D, io["denoised"], **NEAR)
    close(logits, io["encdec_logits"], **NEAR)


def begin_turn(net: Edm2Precond) -> None:
    """As the engine does before the first pass of a turn that trains the network."""
    for module in net.modules():
        if isinstance(module, OncePerTurn):
            module.begin_turn()


def test_a_turn_overwrites_the_weights_by_their_normalised_values_and_its_passes_leave_them(
    net: Edm2Precond, io: dict[str, Tensor]
) -> None:
    args = io["x"], io["sigma"], io["class_labels"]
    weight = net.unet.enc["8x8_block0"].conv_skip.weight
    before = weight.detach().clone()
    net(*args)
    assert torch.equal(weight, before)
    net.train()
    begin_turn(net)
    rms = before.square().mean((1, 2, 3), keepdim=True).sqrt()
    close(weight.detach(), before / (1e-4 + rms))
    close(net.eval()(*args), net.train()(*args), rtol=1e-3, atol=1e-3)
    close(weight.detach(), before / (1e-4 + rms))


def test_a_second_call_does_not_spoil_the_backward_pass_of_the_first(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    net.train()
    args = io["x"], io["sigma"], io["class_labels"]
    net(*args)  # the weights now have unit variance: further calls hardly change them
    weight = net.unet.dec["8x8_in0"].conv_res0.weight
    (once,) = torch.autograd.grad(net(*args).sum(), weight)
    first, second = net(*args), net(*args)
    (twice,) = torch.autograd.grad(first.sum() + second.sum(), weight)
    close(twice, 2 * once, rtol=1e-3, atol=1e-4)


def test_gradients_are_across_the_weights(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    """Scaling a weight changes nothing, so the gradient has no part along it."""
    net(io["x"], io["sigma"]).square().sum().backward()
    weight = net.unet.enc["8x8_block0"].conv_res0.weight
    along = (weight.grad * weight).flatten(1).sum(1)
    assert (along.abs() < 1e-2 * weight.grad.flatten(1).norm(dim=1) * weight.flatten(1).norm(dim=1)).all()


def test_layers_keep_unit_variance() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(64, 12, 8, 8), torch.randn(64, 36, 8, 8)
    outputs = [MPConv(12, 64, 1)(a), mp_silu(a), mp_sum(a, b[:, :12], 0.3), mp_cat(a, b, 0.3), normalize(7 * a, (1,)),
               MPFourier(256)(torch.randn(64)), MPConv(12, 64, 0)(a[:, :, 0, 0])]  # fmt: skip
    for y in outputs:
        assert float(y.detach().square().mean().sqrt()) == pytest.approx(1, abs=0.07)
    parts = mp_cat(a, b, 0.5).split([12, 36], dim=1)
    close(*(part.square().sum((1, 2, 3)).mean() for part in parts), rtol=0.05, atol=0)


def test_a_new_network_starts_as_c_skip_x() -> None:
    net = Edm2(Edm2.Config(**TINY)).module(16, 3, 0).eval()
    x, sigma = torch.randn(3, 3, 16, 16), torch.tensor([0.1, 1.0, 10.0]).reshape(-1, 1, 1, 1)
    close(net(x, sigma), net.scalings(sigma)[0] * x, rtol=0, atol=0)


def test_the_consistency_form_is_the_identity_at_its_boundary(
    edm_data: Callable[[str], dict[str, Tensor]], io: dict[str, Tensor]
) -> None:
    assert torch.equal(tiny(edm_data, preconditioning="consistency", boundary=0.003)(io["x"], 0.003), io["x"])


def test_dropout_acts_in_training_only_and_activations_are_clipped(
    edm_data: Callable[[str], dict[str, Tensor]], io: dict[str, Tensor]
) -> None:
    args = io["x"], io["sigma"], io["class_labels"]
    net = tiny(edm_data, dropout=0.5)
    close(net(*args), io["denoised"], **NEAR)
    net.train()
    assert not torch.equal(net(*args), net(*args))
    clipped = tiny(edm_data, clip_act=0.5).encoder_features(*args)[1:]
    assert max(float(f.detach().abs().max()) for f in clipped) == 0.5


def test_dropout_can_be_left_to_the_coarse_levels(
    edm_data: Callable[[str], dict[str, Tensor]], io: dict[str, Tensor]
) -> None:
    args = io["x"], io["sigma"], io["class_labels"]
    net = tiny(edm_data, dropout=0.5, dropout_resolution=8).train()
    net.force_normalization(False)
    steady = [torch.equal(a, b) for a, b in zip(net.encoder_features(*args), net.encoder_features(*args), strict=True)]
    assert steady == [True, True, False, False]  # 16x16, 16x16, 8x8, 8x8
    decoded = [net.eval().unet.dec["16x16_up"](io["x"].new_ones(1, 64, 8, 8), torch.ones(1, 64)) for _ in range(2)]
    net.unet.dec["16x16_up"].train()
    decoded.append(net.unet.dec["16x16_up"](io["x"].new_ones(1, 64, 8, 8), torch.ones(1, 64)))
    assert all(torch.equal(out, decoded[0]) for out in decoded)


def test_a_pass_without_gradients_leaves_the_weights_alone(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    """As ECT's target does: forced normalisation belongs to an update."""
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    with torch.no_grad():
        net.train()(io["x"], io["sigma"], io["class_labels"])
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


def test_second_derivatives_exist(net: Edm2Precond, io: dict[str, Tensor]) -> None:
    x = io["x"][:2].clone().requires_grad_(True)
    (g,) = torch.autograd.grad(net.encoder(x, io["sigma"][:2]).sum(), x, create_graph=True)
    (g**2).sum().backward()
    assert net.unet.enc["16x16_conv"].weight.grad.abs().max() > 0


def test_the_attributes_of_the_contract_are_there(edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    net = tiny(edm_data, sigma_min=0.01)
    assert (net.resolution, net.channels, net.label_dim, net.augment_dim) == (16, 4, 5, 0)
    assert (net.sigma_min, net.sigma_max, net.sigma_data, net.compute_dtype) == (0.01, math.inf, 0.5, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"channel_mult": (1, 2, 2)}, "multiple of 4, but the images have 10"),
     ({"channel_mult": (1, 0)}, "without channels"),
     ({"model_channels": 64, "attn_resolutions": (10,), "channels_per_head": 48}, "at 10x10 has 64 channels"),
     ({"model_channels": 24, "channel_mult": (2, 1)}, "at 5x5 has 24 channels, no multiple of channels_per_head = 64")],
)  # fmt: skip
def test_a_shape_that_does_not_fit_is_a_usage_error(config: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Edm2(Edm2.Config(**{**TINY, **config})).module(10, 3, 0)


def test_forced_normalisation_can_be_switched_off_without_changing_what_is_computed(
    edm_data: Callable[[str], dict[str, Tensor]], io: dict[str, Tensor]
) -> None:
    on, off = tiny(edm_data).train(), tiny(edm_data).train()
    off.force_normalization(False)
    with torch.no_grad():
        for p in (*on.parameters(), *off.parameters()):
            p.mul_(1000 if p.ndim else 1)  # the 1e-4 in a norm no longer counts
    before = {name: p.detach().clone() for name, p in off.named_parameters()}
    x, sigma, labels = io["x"], io["sigma"], io["class_labels"]
    begin_turn(on)
    begin_turn(off)
    D = off(x, sigma, labels)
    assert (D - on(x, sigma, labels)).norm() < 1e-3 * D.norm()
    assert all(torch.equal(p, before[name]) for name, p in off.named_parameters())
    assert not torch.equal(on.unet.enc["16x16_conv"].weight, before["unet.enc.16x16_conv.weight"])
    off.force_normalization(True)
    begin_turn(off)
    assert not torch.equal(off.unet.enc["16x16_conv"].weight, before["unet.enc.16x16_conv.weight"])
