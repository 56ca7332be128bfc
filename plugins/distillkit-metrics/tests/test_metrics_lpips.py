"""LPIPS as a TorchScript file: how it is called, what its distance is, where gradients go, other files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from distillkit_metrics.lpips import LpipsTorchScript
from torch import Tensor, nn

from distillkit.api import InputError, UsageError


class Scaled(nn.Module):
    """Called like StyleGAN's file; its features are the pixels, scaled by a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor, resize_images: bool = True, return_lpips: bool = False) -> Tensor:
        assert return_lpips and not resize_images
        return self.w * x.flatten(1)


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Scaled()), "vgg16.pt")
        torch.jit.save(torch.jit.script(Plain()), "plain.pt")
    return tmp_path


def phi(channels: int = 3, **keys: Any) -> nn.Module:
    return LpipsTorchScript(LpipsTorchScript.Config(**{"network": "vgg16.pt", "size": 4, **keys})).module(
        2, channels, 0
    )


def test_images_arrive_in_bytes_enlarged_with_grey_repeated(here: Path) -> None:
    x = torch.tensor([-1.0, 0.0, 0.6]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    torch.testing.assert_close(phi(channels=1)(x), torch.tensor([0.0, 63.75, 102.0]).view(3, 1).expand(3, 48))
    assert torch.equal(phi(channels=1)(x), phi()(x.expand(3, 3, 2, 2)))


def test_the_distance_by_hand_and_its_gradient_at_the_images_alone(here: Path) -> None:
    net, x = phi(), torch.zeros(2, 3, 2, 2, requires_grad=True)
    distance = (net(x) - net(torch.full((2, 3, 2, 2), 0.2))).square().sum(1)
    torch.testing.assert_close(distance, torch.full((2,), 48 * (0.5 * 0.2 * 127.5) ** 2))
    distance.sum().backward()
    assert (x.grad < 0).all() and not net.training
    assert not any(p.requires_grad or p.grad is not None for p in net.parameters())


def test_other_files_are_refused_with_a_reason(here: Path) -> None:
    with pytest.raises(InputError, match=r"absent.pt: No such file"):
        phi(network="absent.pt")
    (here / "text.pt").write_text("no network")
    with pytest.raises(InputError, match="not a TorchScript file"):
        phi(network="text.pt")
    with pytest.raises(InputError, match=r"plain.pt: cannot be called as wanted"):
        phi(network="plain.pt")
    with pytest.raises(InputError, match="the recipe says 00000000"):
        phi(sha256="0" * 64)
    with pytest.raises(UsageError, match="these have 4 channels"):
        phi(channels=4)
