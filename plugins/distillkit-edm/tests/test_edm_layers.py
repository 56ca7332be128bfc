"""Blocks and layers against the reference, with gradients."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from distillkit_edm import layers
from distillkit_edm.blocks import BlockStyle, UNetBlock
from distillkit_edm.layers import Conv2d, FourierEmbedding, Init, Linear, PositionalEmbedding, group_norm
from torch import Tensor

close = torch.testing.assert_close
NEAR = {"rtol": 1e-4, "atol": 1e-5}
XAVIER = Init(True)
BLOCKS = ("song_plain", "song_chg", "song_attn", "song_down", "song_up", "song_down1331", "song_up1331",
          "adm_plain", "adm_chg", "adm_attn2heads", "adm_down", "adm_up")  # fmt: skip


def part(io: dict[str, Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in io.items() if k.startswith(prefix)}


def block(meta: dict[str, Any]) -> UNetBlock:
    style = BlockStyle(
        emb_channels=meta["emb_channels"], dropout=meta["dropout"], skip_scale=meta.get("skip_scale", 1.0),
        eps=meta.get("eps", 1e-5), scale_shift=meta.get("adaptive_scale", True),
        resample_proj=meta.get("resample_proj", False), init=XAVIER, init_zero=XAVIER, init_attn=XAVIER,
        channels_per_head=meta.get("channels_per_head", 0), resample_filter=tuple(meta.get("resample_filter", (1, 1))),
    )  # fmt: skip
    resample = "up" if meta.get("up") else "down" if meta.get("down") else ""
    return UNetBlock(meta["in_channels"], meta["out_channels"], style, resample, meta.get("attention", False))


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_and_its_gradient_are_the_references(name: str, edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    io = part(edm_data("edm_modules_io"), f"{name}/")
    meta = json.loads(str(io["meta"]))
    module = block(meta)
    assert module.heads == meta["effective_num_heads"]
    module.load_state_dict(part(io, "param/"))
    x = io["x"].clone().requires_grad_(True)
    y = module(x, io["emb"])
    close(y, io["y"], **NEAR)
    y.backward(io["gy"])
    close(x.grad, io["gx"], **NEAR)


@pytest.mark.parametrize("taps", ["11", "1331"])
@pytest.mark.parametrize("kind", ["up", "down", "fused_down", "nokernel_up", "nokernel_down"])
def test_a_resampling_convolution_is_the_references(
    kind: str, taps: str, edm_data: Callable[[str], dict[str, Tensor]]
) -> None:
    io = part(edm_data("edm_modules_io"), f"conv_{kind}_{taps}/")
    kernel = 0 if kind.startswith("nokernel") else 3
    module = Conv2d(4, 6, kernel, XAVIER, kind.rpartition("_")[2], tuple(map(int, taps)), fused=kind == "fused_down")
    module.load_state_dict(part(io, "param/"))
    close(module(io["x"]), io["y"], **NEAR)
    close(module.resample_filter, io["resample_filter"])


def test_noise_embeddings_are_the_references(edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    io = edm_data("edm_modules_io")
    close(PositionalEmbedding(16, endpoint=True)(io["posemb_in"]), io["posemb_endpoint"], **NEAR)
    close(PositionalEmbedding(16, endpoint=False)(io["posemb_in"]), io["posemb_noendpoint"], **NEAR)
    fourier = FourierEmbedding(16)
    fourier.load_state_dict({"freqs": io["fourier_freqs"]})
    close(fourier(io["posemb_in"]), io["fourier_out"], rtol=1e-4, atol=1e-4)


def test_group_norm_has_the_references_groups(edm_data: Callable[[str], dict[str, Tensor]]) -> None:
    for key, groups in part(edm_data("edm_modules_io"), "groupnorm_groups_").items():
        assert group_norm(int(key), 1e-5).num_groups == int(groups)


@pytest.mark.parametrize(
    ("init", "bound"),
    [(Init(True), (6 / (90 + 180)) ** 0.5), (Init(True, 1e-5), 1e-5 * (6 / (90 + 180)) ** 0.5), (Init(False), 90**-0.5),
     (Init(False, 0.0), 0.0)],
)  # fmt: skip
def test_initial_weights_fill_their_uniform_range(init: Init, bound: float) -> None:
    for module in (Linear(90, 180, init), Conv2d(10, 20, 3, init)):
        weight, bias = module.weight.detach(), module.bias.detach()
        assert float(weight.abs().max()) == pytest.approx(bound, rel=0.02)
        if init.xavier or bound == 0:
            assert not bias.any()
        else:
            assert 0.5 * bound < float(bias.abs().max()) <= bound


@pytest.mark.parametrize("kind", ["up", "down"])
@pytest.mark.parametrize("shape", [(16, 16, 16, 16), (3, 13, 40, 24)])
def test_large_maps_are_resampled_by_a_convolution_with_the_same_bits(
    kind: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    module, found = Conv2d(shape[1], shape[1], 0, XAVIER, kind), []
    for large in (0, 1 << 40):  # by a convolution, and never
        monkeypatch.setattr(layers, "LARGE", large)
        assert layers.convolving_is_faster(x) == (large == 0)
        y = module(x)
        found.append((y, *torch.autograd.grad(y.square().sum(), x)))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_under_autocast_and_in_float64_nothing_is_resampled_by_a_convolution() -> None:
    x = torch.zeros(1, 8, 64, 64)
    assert layers.convolving_is_faster(x) and not layers.convolving_is_faster(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        assert not layers.convolving_is_faster(x)
