"""The projection and the heads: shapes of the published discriminator, by hand where numbers are."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from distillkit_gdd.heads import Head, LabelMap, nominal, width_at
from distillkit_gdd.projection import Projection
from torch import Tensor, nn

from distillkit.testing import toy_state


class Maps(nn.Module):
    """Constant maps of given channels and sizes."""

    def __init__(self, *shapes: tuple[int, int]) -> None:
        super().__init__()
        self.shapes = shapes

    def forward(self, x: Tensor, labels: Tensor | None, randn_like: Callable[[Tensor], Tensor]) -> list[Tensor]:
        return [x.mean() + torch.ones(len(x), c, size, size) for c, size in self.shapes]


def test_the_published_maps_leave_with_the_published_channels_at_twice_the_size() -> None:
    backbone = Maps((24, 56), (40, 28), (112, 14), (320, 7))
    projection = Projection(backbone, torch.zeros(1, 3, 8, 8), None, 64)
    maps = projection(torch.zeros(2, 3, 8, 8), None, torch.zeros_like)
    assert [m.shape[1:] for m in maps] == [(64, 112, 112), (64, 56, 56), (128, 28, 28), (256, 14, 14)]
    assert [conv.weight.shape[:2] for conv in projection.ccm] == [(64, 24), (128, 40), (256, 112), (512, 320)]
    assert not any(p.requires_grad for p in projection.parameters())


def test_maps_that_are_no_multiples_of_each_other_meet() -> None:
    projection = Projection(Maps((4, 55), (6, 27), (6, 13)), torch.zeros(1, 3, 8, 8), None, 8)
    maps = projection(torch.zeros(1, 3, 8, 8), None, torch.zeros_like)
    assert [m.shape[1:] for m in maps] == [(8, 110, 110), (8, 55, 55), (16, 27, 27)]


def test_mixing_across_scales_by_hand() -> None:
    """Identity convolutions: the finest map is what it was plus the coarser one, halved to its channels."""
    projection = Projection(Maps((1, 4), (2, 2)), torch.zeros(1, 1, 8, 8), None, 1)
    with torch.no_grad():
        for conv in (*projection.ccm, *projection.csm):
            nn.init.ones_(conv.weight)
            nn.init.zeros_(conv.bias)
    fine, coarse = projection(torch.full((1, 1, 8, 8), 2.0), None, torch.zeros_like)
    # coarse map 3, 2 channels in and out of the 1x1 ones: 6, 6 -> csm 12; fine: 3 + 12
    torch.testing.assert_close(coarse, torch.full((1, 1, 4, 4), 12.0))
    torch.testing.assert_close(fine, torch.full((1, 1, 8, 8), 15.0))


@pytest.mark.parametrize(("channels", "size", "blocks"), [(64, 112, 4), (64, 56, 3), (128, 28, 2), (256, 14, 1)])
def test_a_published_head_halves_to_7_pixels_and_gives_16_logits(channels: int, size: int, blocks: int) -> None:
    with torch.device("meta"):
        head = Head(channels, size, end=8, width=512, classes=0, embedding=320, cmap=64)
        assert head(torch.empty(2, channels, size, size), None).shape == (2, 16)
    convs = [m for m in head.layers if isinstance(m, nn.Conv2d)]
    assert len(convs) == blocks and convs[-1].out_channels == 512


def test_nominal_sizes_and_widths() -> None:
    assert [nominal(size) for size in (224, 112, 56, 28, 14, 7, 2)] == [256, 128, 64, 32, 16, 8, 2]
    assert [width_at(size, 512) for size in (4, 8, 16, 32, 64, 128, 256)] == [512, 512, 256, 128, 64, 64, 32]


def test_a_conditional_logit_is_the_product_with_the_labels_map() -> None:
    head = Head(3, 4, end=8, width=8, classes=2, embedding=5, cmap=6).eval()
    x, labels = torch.randn(2, 3, 4, 4), torch.eye(2)
    features = head.cls(x)[:, :, 0, 0]
    want = (features * head.label(labels)[:, :, 0, 0]).sum(1, keepdim=True) / math.sqrt(6)
    torch.testing.assert_close(head(x, labels), want)
    label = LabelMap(2, 5, 6)
    y = label.embed.weight @ label.weight.T / math.sqrt(5)
    torch.testing.assert_close(label(labels)[:, :, 0, 0], torch.where(y > 0, y, 0.2 * y) * math.sqrt(2))


def test_real_and_fake_images_pass_with_statistics_of_their_own_in_every_turn() -> None:
    state = toy_state(generator_loss={"use": "gdd", "width": 16, "projection": 4})
    D = state.components["generator_loss"].D
    assert not D.heads.training
    with D.batch_statistics():
        assert D.heads.training
    assert not D.heads.training
