"""The Embedding Loss of latents or of their pixels: one gradient, through a decoder that works when it is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from distillkit_el.space import space_of
from torch import Tensor, nn

from distillkit.api import UsageError
from distillkit.testing import toy_state
from distillkit.testing.toys import ToyImages
from distillkit.train.iterate import iterate
from distillkit.train.state import State

EL: dict[str, Any] = {"use": "embedding", "real_batch": 16, "embeddings": [{"use": "convnet", "width": 4, "depth": 1}]}


class Decoder(nn.Module):
    """The half of a tiny autoencoder that makes 3 channels of 16 x 16 of 2 of 8 x 8; it counts."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = nn.Sequential(
                nn.Conv2d(2, 12, 3, padding=1), nn.SiLU(), nn.Conv2d(12, 12, 1), nn.PixelShuffle(2)
            )
        self.requires_grad_(False)
        self.smooth, self.rounded = list[int](), list[int]()

    def pixels_of(self, dataset: ToyImages, x: Tensor) -> Tensor:
        self.smooth.append(len(x))
        pixels: Tensor = self.net.to(x.dtype)(x)
        return pixels

    def decode(self, dataset: ToyImages, x: Tensor) -> Tensor:
        self.rounded.append(len(x))
        with torch.no_grad():
            return (self.net.to(x.dtype)(x).clamp(-1, 1) * 127.5).round() / 127.5


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    made = Decoder()
    monkeypatch.setattr(ToyImages, "latent", True)
    monkeypatch.setattr(ToyImages, "decode", lambda dataset, x: made.decode(dataset, x))
    monkeypatch.setattr(ToyImages, "pixels_of", lambda dataset, x: made.pixels_of(dataset, x))
    return made


def started(**keys: Any) -> State:
    run = keys.pop("run", {})
    return toy_state(auxiliary_loss=[{**EL, **keys}], run={"precision": "fp64", "batch": 8, **run})


def test_pixels_are_seen_in_their_own_shape_and_latents_in_theirs(decoder: Decoder) -> None:
    for name, shape in (("pixels", (3, 16, 16)), ("latents", (2, 8, 8))):
        state = started(space=name)
        loss: Any = state.components["auxiliary_loss.0"]
        assert loss.space.shape == shape and loss.space.real(torch.arange(3)).shape == (3, *shape)


def test_the_gradient_goes_through_the_decoder(decoder: Decoder) -> None:
    space, x = space_of(started(space="pixels"), "pixels"), torch.randn(6, 2, 8, 8, dtype=torch.float64)
    target = torch.randn(6, 3, 16, 16, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    (decoder.net.double()(leaf) - target).square().sum().backward()
    for at_once in (8, 4, 1):  # in one pass, and in parts that are decoded again
        seen, back = space.see(x, at_once)
        assert not seen.requires_grad
        torch.testing.assert_close(back(2 * (seen - target)), leaf.grad, rtol=1e-9, atol=1e-12)


def test_a_run_in_pixels_is_the_same_in_micro_batches_and_another_than_in_latents(decoder: Decoder) -> None:
    found = []
    for keys in ({"space": "pixels"}, {"space": "pixels", "run": {"micro_batch": 4}}, {"space": "latents"}):
        state = started(**keys)
        for _ in range(2):
            iterate(state)
        found.append(torch.cat([p.detach().flatten() for p in state.generator.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found[0], found[2])


def test_images_are_decoded_when_the_term_is_due_and_real_ones_once(decoder: Decoder) -> None:
    state = started(space="pixels", every=2)
    decoder.smooth.clear()
    counts = []
    for _ in range(4):
        iterate(state)
        counts.append((sum(decoder.smooth), sum(decoder.rounded)))
    size = len(state.dataset)
    assert [smooth for smooth, _ in counts] == [8, 8, 16, 16]  # one pass over the batch, in iterations 0 and 2
    assert counts[0][1] in (size, size + 1) and counts[-1][1] == counts[0][1]  # the bank, and one to know its width
    state = started(space="latents")
    decoder.smooth.clear()
    decoder.rounded.clear()
    iterate(state)
    assert not decoder.smooth and not decoder.rounded


def test_where_networks_see_pixels_both_are_one() -> None:
    found = []
    for name in ("pixels", "latents"):
        state = started(space=name)
        iterate(state)
        found.append(torch.cat([p.detach().flatten() for p in state.generator.parameters()]))
    assert torch.equal(*found)


@pytest.mark.parametrize(("pixels_of", "told"), [
    (lambda dataset, x: x, "nothing decodes these latents"),
    (lambda dataset, x: dataset.decode(x), "no gradient comes through ToyImages"),
])  # fmt: skip
def test_what_cannot_be_decoded_with_a_gradient_is_refused(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, pixels_of: Callable[..., Tensor], told: str
) -> None:
    monkeypatch.setattr(ToyImages, "pixels_of", pixels_of)
    with pytest.raises(UsageError, match=told):
        started(space="pixels")
