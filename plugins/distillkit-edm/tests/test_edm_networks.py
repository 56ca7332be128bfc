"""Networks against the reference: outputs of tiny ones, names and shapes of all released ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from distillkit_edm.networks import Adm, DdpmPP, NcsnPP
from distillkit_edm.precond import EdmPrecond
from torch import Tensor

from distillkit.api import UsageError
from distillkit.builtin.heun import Heun, heun
from distillkit.builtin.levels import levels

close = torch.testing.assert_close
NEAR = {"rtol": 1e-4, "atol": 1e-5}
EDM = ("edm_songunet_tiny", "edm_ncsnpp_tiny", "edm_adm_tiny")
ARCH = json.loads((Path(__file__).parent / "data" / "edm_arch.json").read_text())


@pytest.mark.parametrize("name", [*EDM, "sid_tiny", "sida_tiny"])
def test_denoised_images_are_the_references(
    name: str, edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny(name), edm_data(f"{name}_io")
    x, sigma, labels = io["x"], io["sigma"], io.get("class_labels")
    close(net(x, sigma, labels), io["denoised"], **NEAR)
    close(net(x, sigma.reshape(-1, 1, 1, 1), labels), io["denoised"], **NEAR)
    if "augment_labels" in io:
        close(net(x, sigma, labels, io["augment_labels"]), io["denoised_augment"], **NEAR)
    if "denoised_augment_zeros" in io:
        close(net(x, sigma, labels, torch.zeros(5, 9)), io["denoised_augment_zeros"], **NEAR)
    if "denoised_no_labels" in io:
        close(net(x, sigma), io["denoised_no_labels"], **NEAR)
    if "onestep_2p5" in io:
        close(net(2.5 * io["latents"], 2.5, io.get("sampler_class_labels")), io["onestep_2p5"], **NEAR)


@pytest.mark.parametrize("name", EDM)
def test_the_parts_of_the_preconditioning_are_the_references(
    name: str, edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny(name), edm_data(f"{name}_io")
    scalings = net.scalings(io["sigma"])
    for key, value in zip(("c_skip", "c_out", "c_in", "c_noise"), scalings, strict=True):
        close(value, io[key], **NEAR)
    close(net.model.map_noise(io["c_noise"]), io["map_noise"], **NEAR)
    emb = net.model.embed(io["c_noise"], io.get("class_labels"), None)
    F_x = net.model.decode(net.model.encode(io["c_in"].reshape(-1, 1, 1, 1) * io["x"], emb), emb)
    close(F_x, io["F_x"], **NEAR)


@pytest.mark.parametrize("name", EDM)
def test_heun_samples_are_the_references(
    name: str, edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny(name), edm_data(f"{name}_io")
    config = Heun.Config(steps=18)
    close(torch.tensor(levels(net, config), dtype=torch.float64), io["t_steps18"], rtol=1e-12, atol=0)
    close(heun(net, io["latents"], io.get("sampler_class_labels"), config), io["heun18"], **NEAR)


@pytest.mark.parametrize("name", EDM)
def test_heun_with_churn_is_the_references(
    name: str, edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny(name), edm_data(f"{name}_io")
    config = Heun.Config(steps=6, S_churn=40.0, S_min=0.05, S_max=50.0, S_noise=1.003)
    x = heun(net, io["latents"], io.get("sampler_class_labels"), config, io["heun6_churn_noise"].__getitem__)
    close(x, io["heun6_churn"], rtol=1e-4, atol=1e-4)


def test_encoder_logits_are_the_references(
    edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny("sida_tiny"), edm_data("sida_tiny_io")
    D, logits = net.encoder_decoder(io["x"], io["sigma"], io["class_labels"])
    close(D, io["encdec_denoised"], **NEAR)
    close(logits, io["encdec_logits"], **NEAR)
    close(net.encoder(io["x"], io["sigma"], io["class_labels"]), io["encoder_logits"], **NEAR)


def test_the_encoder_runs_no_decoder(
    edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny("sida_tiny"), edm_data("sida_tiny_io")
    net.model.dec = None
    assert net.encoder(io["x"], io["sigma"]).shape == (5, 1, 8, 8)
    assert net.encoder_features(io["x"], io["sigma"])[-1].shape[2:] == (8, 8)


def test_encoder_features_are_the_blocks_outputs_and_the_last_one_makes_the_logits(
    edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny("sida_tiny"), edm_data("sida_tiny_io")
    features = net.encoder_features(io["x"], io["sigma"], io["class_labels"])
    assert [f.shape[2] for f in features] == [16, 16, 8, 8]
    close(features[-1].mean(1, keepdim=True), io["encoder_logits"], **NEAR)


@pytest.mark.parametrize("name", list(ARCH))
def test_names_and_shapes_are_those_of_the_released_checkpoint(name: str) -> None:
    arch, kwargs = ARCH[name], dict(ARCH[name]["init_kwargs"])
    cls = Adm if kwargs["model_type"] == "DhariwalUNet" else NcsnPP if name.endswith("-ve") else DdpmPP
    keys = {k: kwargs[k] for k in ("model_channels", "dropout", "augment_dim") if k in kwargs}
    component = cls(cls.Config(**keys, channel_mult=tuple(kwargs["channel_mult"])))
    with torch.device("meta"):
        net = component.module(kwargs["img_resolution"], kwargs["img_channels"], kwargs["label_dim"])
    assert {k: list(v.shape) for k, v in net.state_dict().items()} == arch["state_dict"]
    assert sum(p.numel() for p in net.parameters()) == arch["num_params"]


@pytest.mark.parametrize("name", EDM)
def test_a_float64_network_works_in_float64(
    name: str, edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny(name).double(), edm_data(f"{name}_io")
    D = net(io["x"], io["sigma"], io.get("class_labels"))
    assert D.dtype == torch.float64
    close(D, io["denoised"].double(), **NEAR)


@pytest.mark.parametrize("name", EDM)
def test_bfloat16_layers_stay_near_and_give_the_parameters_dtype(
    name: str, edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny(name), edm_data(f"{name}_io")
    net.compute_dtype = torch.bfloat16
    D = net(io["x"], io["sigma"], io.get("class_labels"))
    assert D.dtype == torch.float32
    assert not torch.equal(D, io["denoised"])
    close(D, io["denoised"], rtol=0.05, atol=0.05)


def test_the_consistency_form_has_the_references_coefficients(
    edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    io = edm_data("gdd_precond_io")
    for prefix, net in (
        ("GDDPrecond", edm_tiny("sid_tiny", preconditioning="consistency", boundary=0.002)),
        ("EDMPrecond", edm_tiny("sid_tiny")),
    ):
        scalings = net.scalings(io[f"{prefix}_sigma"])
        for key, value in zip(("c_skip", "c_out", "c_in", "c_noise"), scalings, strict=True):
            close(value, io[f"{prefix}_{key}"], rtol=1e-5, atol=1e-6)


def test_the_consistency_form_is_the_identity_at_its_boundary(
    edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    x = edm_data("sid_tiny_io")["x"]
    assert torch.equal(edm_tiny("sid_tiny", preconditioning="consistency", boundary=0.003)(x, 0.003), x)


@pytest.mark.parametrize(
    ("component", "gain"),
    [(DdpmPP(DdpmPP.Config(model_channels=16)), 1e-3), (NcsnPP(NcsnPP.Config(model_channels=16)), 1e-3),
     (Adm(Adm.Config(model_channels=16)), 0.0)],
)  # fmt: skip
def test_a_new_network_starts_as_c_skip_x(component: Any, gain: float) -> None:
    net = component.module(16, 1, 4).eval()
    x = torch.randn(3, 1, 16, 16)
    sigma = torch.tensor([0.1, 1.0, 10.0]).reshape(-1, 1, 1, 1)
    close(net(x, sigma), net.scalings(sigma)[0] * x, rtol=0, atol=gain)


def test_dropout_and_label_dropout_act_in_training_only(
    edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    io = edm_data("sid_tiny_io")
    net = edm_tiny("sid_tiny", dropout=0.0, label_dropout=0.5)
    args = (io["x"], io["sigma"], io["class_labels"])
    close(net(*args), io["denoised"], **NEAR)
    net.train()
    torch.manual_seed(0)
    changed = (net(*args) - io["denoised"]).abs().flatten(1).amax(1) > 1e-4
    assert changed.any() and not changed.all()
    net = edm_tiny("sid_tiny", dropout=0.5).train()
    assert not torch.equal(net(*args), net(*args))


def test_second_derivatives_exist(
    edm_tiny: Callable[..., EdmPrecond], edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    net, io = edm_tiny("edm_songunet_tiny").requires_grad_(True), edm_data("edm_songunet_tiny_io")
    x = io["x"][:2].clone().requires_grad_(True)
    (g,) = torch.autograd.grad(net.encoder(x, io["sigma"][:2]).sum(), x, create_graph=True)
    (g**2).sum().backward()
    assert net.model.enc["16x16_conv"].weight.grad.abs().max() > 0


def test_the_attributes_of_the_contract_are_there(edm_tiny: Callable[..., EdmPrecond]) -> None:
    net = edm_tiny("edm_adm_tiny", sigma_min=0.01)
    assert (net.resolution, net.channels, net.label_dim, net.augment_dim) == (16, 3, 7, 0)
    assert (net.sigma_min, net.sigma_max, net.sigma_data, net.compute_dtype) == (0.01, math.inf, 0.5, None)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"channel_mult": (1, 2, 2)}, "multiple of 4, but the images have 10"),
     ({"model_channels": 18, "channel_mult": (1,)}, "model_channels 18"),
     ({"model_channels": 68, "channel_mult": (1, 2)}, "channel_mult 2")],
)  # fmt: skip
def test_a_shape_that_does_not_fit_is_a_usage_error(config: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DdpmPP(DdpmPP.Config(**config)).module(10, 3, 0)


def test_a_velocity_inside_is_asked_on_the_straight_path() -> None:
    config = DdpmPP.Config(
        model_channels=8, channel_mult=(1,), num_blocks=1, attn_resolutions=(), preconditioning="flow"
    )
    net = DdpmPP(config).module(8, 1, 0).eval()
    torch.nn.init.normal_(net.raw.dec["8x8_aux_conv"].weight)
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor([0.25, 3.0]).view(2, 1, 1, 1)
    t = sigma / (1 + sigma)
    z, emb = (1 - t) * x, net.raw.embed(t.flatten(), None, None)
    close(net(x, sigma), z - t * net.raw.decode(net.raw.encode(z, emb), emb), **NEAR)
