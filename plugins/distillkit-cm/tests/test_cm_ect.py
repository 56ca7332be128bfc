"""ECT against the reference's numbers, and its network form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_cm.ect import Ect
from torch import Tensor, nn

from distillkit.registry import Catalog

DATA = Path(__file__).parent / "data"
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
TAGS = [(q, stage, c) for c in (0.0, 0.06) for q, stage in ((2, 0), (2, 3), (4, 1), (256, 0))]


def load(name: str) -> dict[str, Tensor]:
    with np.load(DATA / name) as data:
        return {key: torch.from_numpy(np.asarray(data[key])) for key in data.files}


class Stub(nn.Module):
    """D = A x + B (1 + 0.1 ln sigma)."""

    def __init__(self, A: Tensor, B: Tensor) -> None:
        super().__init__()
        self.A, self.B, self.calls = nn.Parameter(A), nn.Parameter(B), []

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        D = self.A * x + self.B * (1 + 0.1 * sigma.log())
        if D.requires_grad:
            D.retain_grad()
        self.calls.append(SimpleNamespace(x=x, sigma=sigma, D=D))
        return D


@pytest.mark.parametrize("branch", ["ect", "ect_imgnet"])
@pytest.mark.parametrize(("q", "stage", "c"), TAGS)
def test_the_loss_and_its_gradient_are_the_references(branch: str, q: float, stage: int, c: float) -> None:
    data, tag = load(f"{branch}_loss_io.npz"), f"q{q}_s{stage}_c{str(c).replace('.', 'p')}"
    want = {key.removeprefix(f"{tag}_"): v for key, v in data.items() if key.startswith(f"{tag}_")}
    y, t = data["images"], want["t"]
    step = SimpleNamespace(
        real=y, labels=None, lognormal_sigma=lambda P_mean, P_std: t, randn_like=lambda x: (want["x_t"] - y) / t
    )
    student = Stub(data["A"], data["B"])
    loss = Ect(Ect.Config(q=q, c=c, double_kimg=1.0, weight="step" if branch == "ect" else "edm"))
    per_image = loss.generator_loss(SimpleNamespace(generator=student, nimg=1000 * stage + 999), step)
    per_image.mean().backward()
    at_t, at_r = student.calls
    r = want["r"]
    torch.testing.assert_close(loss.map(t, stage), r, **CLOSE)
    torch.testing.assert_close(at_t.x, want["x_t"], **CLOSE)
    torch.testing.assert_close(at_r.x, want["x_r"], **CLOSE)
    torch.testing.assert_close(at_t.D, want["D_t"], **CLOSE)
    used = r.flatten() > 0  # elsewhere the clean image takes its place; the stub is infinite there
    torch.testing.assert_close(at_r.D[used], want["D_r"][used], **CLOSE)
    torch.testing.assert_close(per_image, want["loss"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(per_image.mean(), want["loss_scalar"], rtol=1e-4, atol=1e-6)
    size = float(want["grad_D_t"].abs().max())  # of t - r = t / 50, float32 leaves five digits
    torch.testing.assert_close(at_t.D.grad, want["grad_D_t"], rtol=1e-4, atol=1e-4 * size)


@pytest.mark.parametrize("mapping", ["sigmoid", "const"])
@pytest.mark.parametrize("q", [2, 4, 256])
def test_the_map_from_t_to_r_is_the_references(q: float, mapping: str) -> None:
    data = load("ect_loss_io.npz")
    for stage in range(4):
        r = Ect(Ect.Config(q=q, mapping=mapping)).map(data["map_t"], stage)
        torch.testing.assert_close(r, data[f"map_q{q}_s{stage}_{mapping}"], rtol=1e-5, atol=1e-7)


def test_stages_follow_the_images_seen() -> None:
    asked = []
    loss = Ect(Ect.Config(double_kimg=2.0))
    loss.map = lambda t, stage: asked.append(stage) or t / 2
    y = torch.zeros(1, 1, 2, 2)
    step = SimpleNamespace(
        real=y, labels=None, lognormal_sigma=lambda *_: torch.ones(1, 1, 1, 1), randn_like=lambda x: x
    )
    for nimg in (0, 1999, 2000, 6001):
        loss.generator_loss(SimpleNamespace(generator=Stub(y, y + 1), nimg=nimg), step)
    assert asked == [0, 0, 1, 3]


def test_no_network_is_asked_at_sigma_zero_and_r_zero_is_denoising() -> None:
    y = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.1, 0.2]).view(2, 1, 1, 1)
    step = SimpleNamespace(real=y, labels=None, lognormal_sigma=lambda *_: t, randn_like=lambda x: torch.ones_like(x))
    student = Stub(torch.full((1, 2, 2), 0.5), torch.zeros(1, 2, 2))
    loss = Ect(Ect.Config()).generator_loss(SimpleNamespace(generator=student, nimg=0), step)
    assert all(call.sigma.min() > 0 for call in student.calls)
    D = 0.5 * (y + t)
    torch.testing.assert_close(loss, (D - y).flatten(1).norm(dim=1) / t.flatten())


@pytest.fixture
def ect_network() -> Callable[..., Any]:
    cls = Catalog.installed().load("network", "edm-ddpmpp")
    keys = {"model_channels": 8, "channel_mult": (1, 2), "num_blocks": 1, "attn_resolutions": (8,), "dropout": 0.13}
    return lambda **more: cls(cls.Config(**keys, augment_dim=9, **more)).module(16, 3, 0)


def test_the_network_of_ect_has_edms_form_in_training_and_the_boundary_in_evaluation(
    ect_network: Callable[..., Any],
) -> None:
    weights, want = load("ect_tiny_state_dict.npz"), load("ect_tiny_io.npz")
    net = ect_network(**Ect(Ect.Config()).network_keys)
    net.load_state_dict(weights)
    with torch.no_grad():
        D = net.eval()(want["x"], want["sigma"])
    torch.testing.assert_close(D, want["denoised"], **CLOSE)
    edm = ect_network()
    in_training, of_edm = net.train().scalings(want["sigma"]), edm.scalings(want["sigma"])
    assert all(torch.equal(a, b) for a, b in zip(in_training, of_edm, strict=True))
