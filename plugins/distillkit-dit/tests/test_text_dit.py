"""The transformer that reads words: what it sees of a row of labels, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from distillkit_dit.denoiser import TransformerDenoiser
from distillkit_dit.networks import TextDit
from torch import Tensor

from distillkit.api import Condition, Layout, UsageError

LAYOUT = Layout(tokens=3, width=4, pooled=2)
KEYS: dict[str, Any] = {
    "patch_size": 2, "hidden_size": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "tokens": 3, "token_width": 4,
    "pooled": 2,
}  # fmt: skip


def net(seed: int = 0, **keys: Any) -> TransformerDenoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = TextDit(TextDit.Config(**KEYS | keys)).module(8, 1, LAYOUT.size)
        for p in made.parameters():
            p.data.add_(0.2 * torch.randn_like(p))
    return made.eval().requires_grad_(False)


def asked(mask: list[list[float]], seed: int = 1) -> Condition:
    draw, n = torch.Generator().manual_seed(seed), len(mask)
    tokens, pooled = (torch.randn(n, *shape, generator=draw) for shape in ((3, 4), (2,)))
    return Condition(tokens=tokens, mask=torch.tensor(mask), pooled=pooled)


def noisy(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(2)), torch.linspace(0.3, 3, n)


def test_what_the_mask_leaves_out_is_not_seen_and_what_it_leaves_in_is() -> None:
    made, words = net(), asked([[1.0, 1.0, 0.0]] * 2)
    assert words.tokens is not None
    x, sigma = noisy(2)
    D = made(x, sigma, LAYOUT.pack(words))
    words.tokens[0, 2] += 10  # hidden
    words.tokens[1, 1] += 1
    again = made(x, sigma, LAYOUT.pack(words))
    assert torch.equal(again[0], D[0]) and not torch.allclose(again[1], D[1], atol=1e-3)


def test_a_row_of_zeros_asks_for_nothing_beside_rows_that_ask() -> None:
    made = net()
    x, sigma = noisy(3)
    labels = LAYOUT.pack(asked([[1.0, 1.0, 1.0]] * 3))
    labels[1] = 0
    mixed, nothing = made(x, sigma, labels), made(x, sigma)
    torch.testing.assert_close(mixed[1], nothing[1])
    assert not torch.allclose(mixed[0], nothing[0], atol=1e-3)


def test_training_drops_whole_prompts() -> None:
    made = net(label_dropout=0.5).train()
    x, sigma = noisy(16)
    labels = LAYOUT.pack(asked([[1.0, 1.0, 0.0]] * 16))
    given, nothing = made.eval()(x, sigma, labels), made(x, sigma)
    trained = made.train()(x, sigma, labels)
    kept, dropped = (torch.isclose(trained, one, atol=1e-6).flatten(1).all(1) for one in (given, nothing))
    assert (kept ^ dropped).all() and kept.any() and dropped.any()


def test_its_forward_mode_derivative_is_a_central_difference() -> None:
    made = net().double()
    x, sigma = (one.double() for one in noisy(3))
    labels = LAYOUT.pack(asked([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])).double()
    v, h = torch.ones_like(x), 1e-5
    found = torch.func.jvp(lambda x: made(x, sigma, labels), (x,), (v,))[1]
    known = (made(x + h * v, sigma, labels) - made(x - h * v, sigma, labels)) / (2 * h)
    torch.testing.assert_close(found, known, rtol=1e-6, atol=1e-8)


def test_labels_of_another_size_are_refused_with_the_keys_to_change() -> None:
    with pytest.raises(UsageError, match=r"labels of 10 numbers .* 3 tokens of 4, .* are 17: tokens, token_width"):
        TextDit(TextDit.Config(**KEYS)).module(8, 1, 10)
