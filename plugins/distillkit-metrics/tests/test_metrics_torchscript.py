"""Feature networks from TorchScript files: what they see, and which files are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from distillkit_metrics.torchscript import Inception, TorchScript
from torch import Tensor, nn

from distillkit.api import InputError, UsageError
from distillkit.testing import toy_state


class Means(nn.Module):
    """The mean of each channel; no keyword is understood."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Flat(Means):
    """One number for all images."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        return x.float().mean()[None]


class Broken(Means):
    """Fails inside."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        raise RuntimeError("no images, please")


def prepared(cls: type = Inception, channels: int = 3, **keys: object) -> TorchScript:
    features = cls(cls.Config(**({"network": "inception.pt"} | keys)))
    features.prepare(toy_state(dataset={"use": "toy", "channels": channels}).dataset, None, Path("cache"))
    return features


def test_the_network_sees_truncated_bytes_and_its_keywords(inception: Callable[..., Path]) -> None:
    net = torch.jit.load(inception(5))
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    levels = (x * 127.5 + 128).clip(0, 255).to(torch.uint8)
    features = prepared()
    assert torch.equal(features(x)["penultimate"], net(levels, return_features=True))
    assert torch.equal(features.probabilities(x), net(levels, no_output_bias=True))
    assert not torch.equal(features.probabilities(x), net(levels))


def test_grey_is_repeated_and_other_channels_are_refused(inception: Callable[..., Path]) -> None:
    inception()
    grey = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(prepared(channels=1)(grey)["penultimate"], prepared()(grey.repeat(1, 3, 1, 1))["penultimate"])
    with pytest.raises(UsageError, match="these have 2 channels"):
        prepared(channels=2)


def test_only_inception_features_of_the_published_width_give_an_fid(inception: Callable[..., Path]) -> None:
    inception(2048)
    assert prepared().distance == "fid"
    inception(2047)
    assert prepared().distance == "fd"
    inception(net=Means)
    assert prepared(TorchScript).distance == "fd"


def test_the_digest_of_another_preparation_of_images_is_another_one(inception: Callable[..., Path]) -> None:
    inception(net=Means)
    digests = {prepared(TorchScript, **keys).digest for keys in ({}, {"size": 8}, {"resize": "bilinear"})}
    assert len(digests) == 3
    assert digests == {
        prepared(TorchScript, **keys).digest for keys in ({"size": 224}, {"size": 8}, {"resize": "bilinear"})
    }


def test_the_hash_is_that_of_the_file_and_another_file_is_refused(inception: Callable[..., Path]) -> None:
    digest = hashlib.sha256(inception().read_bytes()).hexdigest()
    assert prepared(sha256=digest).digest == digest == prepared().digest
    with pytest.raises(InputError, match=f"its sha256 is {digest}, the recipe says 0000"):
        prepared(sha256="0" * 64)
    with pytest.raises(ValueError, match="64 digits"):
        Inception.Config(network="x", sha256="abc")


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 cut off", b"\x80\x04cos\nsystem\n."])
def test_what_is_no_torchscript_is_refused(raw: bytes, inception: Callable[..., Path]) -> None:
    inception().write_bytes(raw)
    with pytest.raises(InputError, match="not a TorchScript file"):
        prepared()


def test_a_checkpoint_a_missing_file_and_a_folder_are_refused(inception: Callable[..., Path]) -> None:
    torch.save({"weight": torch.zeros(2)}, inception())
    with pytest.raises(InputError, match="not a TorchScript file"):
        prepared()
    for name in ("nowhere.pt", "."):
        with pytest.raises(InputError, match="path of a TorchScript file"):
            prepared(network=name)


def test_a_network_that_cannot_be_called_or_gives_no_rows_is_refused(inception: Callable[..., Path]) -> None:
    inception(net=Means)
    with pytest.raises(InputError, match=r"cannot be called as wanted .*expected at most 2 argument"):
        prepared()
    inception(net=Broken)
    with pytest.raises(InputError, match=r"cannot be called as wanted .*no images, please"):
        prepared()
    inception(net=Flat)
    with pytest.raises(InputError, match=r"gave \[1\] for 2 images"):
        prepared()


def test_other_networks_see_resized_normalised_levels(inception: Callable[..., Path]) -> None:
    inception(net=Means)
    x = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    found = prepared(TorchScript, size=16, mean=(0.5, 0.25, 0.0), std=(1.0, 0.5, 2.0))(x)["penultimate"]
    expected = torch.tensor([-0.5, (128 / 255 - 0.25) / 0.5, 0.5]).expand(2, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
