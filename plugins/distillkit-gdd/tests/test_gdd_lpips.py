"""LPIPS on VGG-16: its equation by hand, where gradients go, the files it takes and refuses, the losses that use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from distillkit_gdd.lpips import TAPS, LpipsVgg16, Phi, channel_weights
from distillkit_gdd.published import Normalised
from distillkit_gdd.vgg import WIDTHS, Features
from torch import Tensor, nn

from distillkit.api import InputError, UsageError
from distillkit.testing import toy_state
from distillkit.train.iterate import iterate

CHANNELS = [stage[-1] for stage in WIDTHS]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of VGG-16, as torchvision names them, and of LPIPS' five layers."""
    folder = tmp_path_factory.mktemp("lpips")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Features(TAPS, batch_norm=False)
        for p in net.parameters():
            nn.init.kaiming_normal_(p, nonlinearity="relu") if p.ndim > 1 else nn.init.normal_(p, std=0.1)
        lin = {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(CHANNELS)}
    safetensors.torch.save_file(net.state_dict(), folder / "vgg16.safetensors")
    torch.save(lin, folder / "vgg.pth")
    return folder


@pytest.fixture
def here(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(files)
    return files


def phi(channels: int = 3, **keys: Any) -> nn.Module:
    config = LpipsVgg16.Config(**{"weights": "vgg16.safetensors", "size": 32, **keys})
    return LpipsVgg16(config).module(8, channels, 0)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def distance(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (net(x) - net(y)).square().sum(1)


class Given(nn.Module):
    """Five layers' maps that do not depend on the weights: the first three channels, the image, and else nothing."""

    def forward(self, x: Tensor) -> list[Tensor]:
        pad = [torch.zeros(len(x), width - 3, *x.shape[2:]) for width in CHANNELS]
        return [torch.cat([x, zeros], 1) for zeros in pad]


def test_the_distance_by_hand() -> None:
    """A pixel (3, 4, 0) against (0, 0, 2): unit vectors (.6, .8, 0) and (0, 0, 1), so a layer: w2 . (.36, .64, 1)."""
    x, y = (torch.tensor(v).view(1, 3, 1, 1) for v in ([3.0, 4.0, 0.0], [0.0, 0.0, 2.0]))
    torch.testing.assert_close(distance(Phi(Given(), None), x, y), torch.tensor([5 * 2.0]))
    w2 = [torch.arange(width).float() for width in CHANNELS]
    torch.testing.assert_close(distance(Phi(Given(), w2), x, y), torch.tensor([5 * (0.64 + 2)]))
    # over 2 x 2 pixels it is the mean
    x, y = (torch.cat([torch.cat([v, u], 2), torch.cat([u, u], 2)], 3) for v, u in ((x, y), (y, y)))
    torch.testing.assert_close(distance(Phi(Given(), w2), x, y), torch.tensor([5 * (0.64 + 2) / 4]))


def test_the_equation_holds_on_the_networks_maps(here: Path) -> None:
    net, x, y = phi(lin="vgg.pth"), drawn(2, 3, 8, 8), drawn(2, 3, 8, 8, seed=1)
    lin, want = torch.load("vgg.pth", weights_only=True), torch.zeros(2)
    for i, maps in enumerate(zip(net.maps(x), net.maps(y), strict=True)):
        a, b = (m / m.square().sum(1, keepdim=True).sqrt() for m in maps)
        want += ((a - b).square() * lin[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2)).nan_to_num()
    torch.testing.assert_close(distance(net, x, y), want, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(distance(phi(), x, y), want)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_maps_are_those_after_the_last_relu_of_each_stage(here: Path, pooling: str) -> None:
    maps = phi(pooling=pooling).maps(drawn(1, 3, 8, 8))
    assert [m.shape[1:] for m in maps] == [(c, side, side) for c, side in zip(CHANNELS, (32, 16, 8, 4, 2), strict=True)]
    assert all(m.min() >= 0 for m in maps)


def test_the_two_poolings_differ_behind_the_first_stage(here: Path) -> None:
    x = drawn(1, 3, 8, 8)
    first, *others = zip(phi().maps(x), phi(pooling="average").maps(x), strict=True)
    assert torch.equal(*first) and not any(torch.allclose(a, b) for a, b in others)


def test_images_arrive_as_vgg_was_trained_grey_ones_repeated_small_ones_enlarged(here: Path) -> None:
    """LPIPS' (x - shift) / scale of images in [-1,1] is ImageNet's mean and deviation of images in [0,1]."""
    seen = []
    net = phi(channels=1)
    net.maps.net = nn.Module()
    net.maps.net.forward = lambda x: seen.append(x) or [x.new_ones(1, c, 1, 1) for c in CHANNELS]
    grey = drawn(1, 1, 1, 1).expand(1, 1, 8, 8)
    net(grey)
    shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    torch.testing.assert_close(seen[0], ((grey - shift) / scale)[:, :, :1, :1].expand(1, 3, 32, 32))
    x = drawn(2, 1, 8, 8)
    assert torch.equal(phi(channels=1)(x), phi(channels=3)(x.repeat(1, 3, 1, 1)))


def test_the_gradient_reaches_the_images_alone_and_is_finite_where_no_channel_is_active(here: Path) -> None:
    net, x = phi(), drawn(2, 3, 8, 8).requires_grad_()
    distance(net, x, drawn(2, 3, 8, 8, seed=1)).sum().backward()
    assert x.grad.isfinite().all() and x.grad.flatten(1).any(1).all()
    assert not net.training and not any(p.requires_grad or p.grad is not None for p in net.parameters())
    dead = Normalised(Features(TAPS, batch_norm=False), 32, (0.5,) * 3, (0.5,) * 3)
    for p in dead.parameters():
        nn.init.zeros_(p)
    x = drawn(1, 3, 8, 8).requires_grad_()
    value = distance(Phi(dead, None), x, x.detach() / 2).sum()
    value.backward()
    assert value == 0 and torch.equal(x.grad, torch.zeros_like(x))


def test_other_files_are_refused_with_a_reason(here: Path) -> None:
    with pytest.raises(InputError, match=r"absent.pth: no such file"):
        phi(weights="absent.pth")
    with pytest.raises(InputError, match=r"vgg.pth: has no 'features.0.weight' \(26 of 26 missing\)"):
        phi(weights="vgg.pth")
    with pytest.raises(InputError, match=r"'lin0.model.1.weight' is nothing, expected \[1, 64, 1, 1\]: not LPIPS'"):
        phi(lin="vgg16.safetensors")
    torch.save({f"lin{i}.model.1.weight": torch.zeros(1, 64, 1, 1) for i in range(5)}, "alex.pth")
    with pytest.raises(InputError, match=r"'lin1.model.1.weight' is \[1, 64, 1, 1\], expected \[1, 128, 1, 1\]"):
        channel_weights(here / "alex.pth")
    torch.save({f"lin{i}.model.1.weight": -torch.ones(1, c, 1, 1) for i, c in enumerate(CHANNELS)}, "negative.pth")
    with pytest.raises(InputError, match="below 0"):
        channel_weights(here / "negative.pth")
    with pytest.raises(UsageError, match="grey or RGB images; these have 2 channels"):
        phi(channels=2)


LPIPS = {"use": "lpips-vgg16", "weights": "vgg16.safetensors", "lin": "vgg.pth", "size": 32}
LOSSES = {
    "cd": {"generator_loss": {"use": "cd", "N": 8, "distance": "lpips", "features": LPIPS}},
    "ct": {"generator_loss": {"use": "ct", "s1": 20, "distance": "lpips", "features": LPIPS}},
    "regression": {
        "auxiliary_loss": [
            {"use": "regression", "pairs": 8, "sampler": {"use": "heun", "steps": 2}, "distance": "lpips",
             "features": LPIPS, "weight": 1.0},
        ]
    },
    "consistency": {"auxiliary_loss": [{"use": "consistency", "features": LPIPS}]},
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_that_lpips_is_published_for_trains_the_student_with_it(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path))
    state = toy_state(dataset={"channels": 1}, run={"batch": 4}, **LOSSES[name])
    parts = [*state.components.values()]
    (used,) = [part for part in parts if getattr(part, "phi", None) is not None]
    before = {name: p.clone() for name, p in used.phi.state_dict().items()}
    student = [p.clone() for p in state.networks["generator"].parameters()]
    iterate(state)
    assert state.skipped == 0
    assert all(torch.equal(before[name], p) for name, p in used.phi.state_dict().items())
    assert any(not torch.equal(a, b) for a, b in zip(student, state.networks["generator"].parameters(), strict=True))
