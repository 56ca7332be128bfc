"""Transformers against the references' numbers, and as denoisers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from distillkit_dit.denoiser import TransformerDenoiser
from distillkit_dit.networks import Dit, FlowDit, Sit, published
from torch import Tensor

from distillkit.api import UsageError
from distillkit.convert import to_x0

DATA = Path(__file__).parent / "data"
NEAR: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
COMPONENTS = {"sit_tiny_io": Sit, "dit_tiny_io": Dit, "meanflow_dit_tiny_io": FlowDit}
TINY: dict[str, Any] = {"patch_size": 2, "hidden_size": 32, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}


def reference(name: str) -> dict[str, Any]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
        return {k: v if v.dtype.kind == "U" else torch.from_numpy(v) for k, v in arrays.items()}


def one_hot(y: Tensor, classes: int = 5) -> Tensor:
    """Labels [N,L]; class number `classes` is none."""
    return F.one_hot(y, classes + 1)[:, :classes].float()


def net(name: str, io: dict[str, Any], **keys: Any) -> TransformerDenoiser:
    """A tiny one with the reference's weights."""
    cls: Any = COMPONENTS[name]
    given = json.loads(str(io["config_json"]))
    assert {k: given[k] for k in TINY} == TINY
    made: TransformerDenoiser = cls(cls.Config(**TINY, **keys)).module(8, 4, 5)
    weights = {k.removeprefix("sd/"): v for k, v in io.items() if k.startswith("sd/") and "logvar" not in k}
    made.model.load_state_dict(weights)
    return made.eval().requires_grad_(False)


def test_sit_is_the_references() -> None:
    io = reference("sit_tiny_io")
    sit = net("sit_tiny_io", io)
    torch.testing.assert_close(sit.model.pos_embed, io["pos_embed"], **NEAR)
    velocity = sit.model(io["x"], io["t"], one_hot(io["y"]))[:, :4]
    torch.testing.assert_close(velocity, io["velocity"], **NEAR)
    D = sit(io["edm_x_sigma"], io["edm_sigma"], one_hot(io["y"]))
    torch.testing.assert_close(D, io["edm_D"], **NEAR)


@pytest.mark.parametrize("path", ["Linear", "GVP", "VP"])
@pytest.mark.parametrize("prediction", ["velocity", "noise", "score"])
def test_sits_drift_and_score_follow_from_its_denoiser(path: str, prediction: str) -> None:
    io = reference("sit_tiny_io")
    kind = {"noise": "eps"}.get(prediction, prediction)
    sit = net("sit_tiny_io", io, path=path.lower(), prediction=kind)
    t = (1 - io["t"].double()).reshape(-1, 1, 1, 1)  # the reference's runs from noise to data
    raw = sit.model(io["x"], io["t"], one_hot(io["y"]))[:, :4]
    D = to_x0(kind, raw.double(), io["x"], t, sit.schedule)
    a, b = sit.schedule.a_b(t)
    known = io[f"tr_{path}_{prediction}_score"]
    torch.testing.assert_close(
        ((a * D - io["x"]) / b**2).float(), known, rtol=1e-3, atol=1e-3 * float(known.abs().max())
    )


def test_dit_is_the_references() -> None:
    io = reference("dit_tiny_io")
    dit = net("dit_tiny_io", io)
    out = dit.model(io["x"], io["t_index"].double(), one_hot(io["y"]))
    torch.testing.assert_close(out, io["out"], **NEAR)
    x_0 = to_x0("eps", out[:, :4], io["x"], io["t_index"].double().reshape(-1, 1, 1, 1), dit.schedule)
    torch.testing.assert_close(x_0, io["pred_xstart"], rtol=1e-4, atol=1e-5 * float(io["pred_xstart"].abs().max()))
    sigma = dit.schedule.sigma(io["t_index"].double()).reshape(-1, 1, 1, 1)
    D = dit(io["x"] * (1 + sigma**2).sqrt(), sigma, one_hot(io["y"]))
    torch.testing.assert_close(D, x_0, rtol=1e-4, atol=1e-4 * float(x_0.abs().max()))


def test_meanflows_transformer_is_the_references_with_its_forward_mode_derivative() -> None:
    io = reference("meanflow_dit_tiny_io")
    flow = net("meanflow_dit_tiny_io", io, second_time=True).model
    x, t, r, labels = io["x"], io["t"], io["r"], io["labels"]
    torch.testing.assert_close(flow(x, t, labels, t - r), io["u"], **NEAR)
    torch.testing.assert_close(flow(x, t, labels), io["u_rt"], **NEAR)
    tangents = io["v"], torch.ones_like(t), torch.zeros_like(r)
    _, derivative, *_ = torch.func.jvp(lambda x, t, r: flow(x, t, labels, t - r), (x, t, r), tangents)
    torch.testing.assert_close(derivative, io["jvp"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("size", "millions"), [("S/2", 33), ("B/4", 130), ("L/2", 458), ("XL/2", 675)])
def test_published_sizes_have_their_published_weights(size: str, millions: int) -> None:
    with torch.device("meta"):
        made = Sit(Sit.Config(size=size)).module(32, 4, 1000)
    assert round(sum(p.numel() for p in made.parameters()) / 1e6) == pytest.approx(millions, abs=1)


def test_labels_may_be_none_in_part_and_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    made = Sit(Sit.Config(**TINY, label_dropout=0.5)).module(8, 3, 5)
    for p in made.parameters():
        p.data.add_(0.1 * torch.randn_like(p))
    x, sigma = torch.randn(16, 3, 8, 8), torch.ones(16, 1, 1, 1)
    labels = one_hot(torch.arange(16) % 5)
    without, given = made.eval()(x, sigma), made(x, sigma, labels)
    trained = made.train()(x, sigma, labels)
    dropped = torch.isclose(trained, without, atol=1e-6).flatten(1).all(1)
    kept = torch.isclose(trained, given, atol=1e-6).flatten(1).all(1)
    assert (dropped ^ kept).all() and dropped.any() and kept.any()


@pytest.mark.parametrize(
    ("keys", "told"),
    [({"patch_size": 3}, "patch_size 3 does not divide"),
     ({"hidden_size": 40, "num_heads": 3}, "a multiple of 4 and of num_heads")],
)  # fmt: skip
def test_numbers_that_do_not_fit_are_refused(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Dit(Dit.Config(**keys)).module(8, 3, 0)


def test_a_size_is_its_four_numbers() -> None:
    assert published("XL/2") == {"patch_size": 2, "hidden_size": 1152, "depth": 28, "num_heads": 16}


@pytest.mark.parametrize("component", COMPONENTS.values())
def test_a_smoke_run_of_a_published_size_is_small(component: type[Sit]) -> None:
    """The keys of the size would stand over all others."""
    least = component.Config(**{"size": "XL/2", **component.tiny})
    assert sum(p.numel() for p in component(least).module(8, 4, 4).parameters()) < 100_000
