"""The random feature maps: seeded, batch independent, any resolution from 8 up, any number of channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from distillkit_embeddings.attention import Attention
from distillkit_embeddings.convnet import ConvNet
from distillkit_embeddings.layers import Pool
from distillkit_embeddings.multiscale import MultiScale
from distillkit_embeddings.pixels import Pixels
from distillkit_embeddings.residual import Residual
from torch import Tensor
from torch.nn import functional as F

from distillkit.api import Embedding, UsageError

RANDOM = [ConvNet, MultiScale, Residual, Attention]
every = pytest.mark.parametrize("cls", [*RANDOM, Pixels])
random = pytest.mark.parametrize("cls", RANDOM)


def images(n: int, channels: int, resolution: int, seed: int = 0) -> Tensor:
    shape = (n, channels, resolution, resolution)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def module(cls: type[Embedding], resolution: int = 8, channels: int = 1, seed: int = 5, **keys: object) -> Any:
    return cls(cls.Config(**keys)).module(resolution, channels, seed)


@every
@pytest.mark.parametrize(("resolution", "channels"), [(8, 1), (9, 4), (13, 2), (17, 3), (32, 3), (65, 1)])
def test_any_resolution_and_channels_give_one_row_per_image(
    cls: type[Embedding], resolution: int, channels: int
) -> None:
    features = module(cls, resolution, channels)(images(3, channels, resolution))
    assert features.ndim == 2 and len(features) == 3 and features.isfinite().all()


@random
@pytest.mark.parametrize("resolution", [8, 32, 50])
def test_the_width_of_the_features_does_not_grow_with_the_resolution(cls: type[Embedding], resolution: int) -> None:
    small = module(cls, 8, 3)(images(1, 3, 8)).shape
    assert module(cls, resolution, 3)(images(1, 3, resolution)).shape == small


@every
@pytest.mark.parametrize("resolution", [8, 9, 31])
def test_no_pixel_is_out_of_sight(cls: type[Embedding], resolution: int) -> None:
    x = images(2, 2, resolution).requires_grad_()
    features = module(cls, resolution, 2)(x)
    (grad,) = torch.autograd.grad((features * torch.randn(features.shape)).sum(), x)
    assert (grad != 0).all()


@random
def test_the_same_seed_gives_the_same_features_bit_for_bit_and_another_seed_others(cls: type[Embedding]) -> None:
    x = images(4, 1, 8)
    assert torch.equal(module(cls, seed=2**62 + 1)(x), module(cls, seed=2**62 + 1)(x))
    assert not torch.allclose(module(cls, seed=1)(x), module(cls, seed=2)(x))


@every
def test_the_global_generator_is_neither_read_nor_moved(cls: type[Embedding]) -> None:
    torch.manual_seed(1)
    first, drawn = module(cls), torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    torch.manual_seed(2)
    again = module(cls)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@every
def test_the_network_is_frozen_and_passes_gradients_to_the_image(cls: type[Embedding]) -> None:
    net, x = module(cls), images(2, 1, 8).requires_grad_()
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    net(x).square().sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


@every
def test_features_of_an_image_do_not_depend_on_its_batch(cls: type[Embedding]) -> None:
    net, x = module(cls), images(6, 1, 8)
    torch.testing.assert_close(net(x)[2:3], net(x[2:3]), rtol=1e-5, atol=1e-5)


@every
def test_different_images_have_different_features(cls: type[Embedding]) -> None:
    features = module(cls)(images(5, 1, 8))
    assert torch.pdist(features).min() > 1e-2


def test_instance_norm_is_one_group_per_channel_and_forgets_contrast() -> None:
    x = images(2, 1, 8)
    features = {how: module(ConvNet, norm=how, depth=1)(x) for how in ("group", "instance")}
    contrast = {how: module(ConvNet, norm=how, depth=1)(0.5 * x) for how in features}
    change = {how: ((features[how] - contrast[how]).norm() / features[how].norm()).item() for how in features}
    assert change["instance"] < 0.02 < change["group"]


def test_pooling_by_matrices_is_adaptive_average_pooling() -> None:
    for side in (4, 6, 9, 32):
        x = images(2, 3, side)
        torch.testing.assert_close(Pool(side)(x), F.adaptive_avg_pool2d(x, 4))


def test_pixels_are_the_image_or_its_averages() -> None:
    x = images(2, 3, 8)
    assert torch.equal(module(Pixels, 8, 3)(x), x.flatten(1))
    torch.testing.assert_close(module(Pixels, 8, 3, max_px=4)(x), F.avg_pool2d(x, 2).flatten(1))


def test_a_width_that_the_heads_do_not_divide_is_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match="multiple of heads = 4: 50"):
        module(Attention, width=50)
