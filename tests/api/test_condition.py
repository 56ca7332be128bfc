"""Rows of labels, packed and unpacked."""

from __future__ import annotations

import pytest
import torch

from distillkit.api import Condition, Layout, UsageError

LAYOUT = Layout(classes=3, tokens=4, width=5, pooled=2, guidance=True)


def condition(n: int = 6) -> Condition:
    g = torch.Generator().manual_seed(0)
    return Condition(
        classes=torch.eye(3)[torch.arange(n) % 3], tokens=torch.randn(n, 4, 5, generator=g),
        mask=(torch.rand(n, 4, generator=g) > 0.5).float(), pooled=torch.randn(n, 2, generator=g),
        guidance=torch.rand(n, generator=g),
    )  # fmt: skip


def test_what_is_packed_comes_back_whole_and_by_rows() -> None:
    given = condition()
    labels = LAYOUT.pack(given)
    assert labels.shape == (6, LAYOUT.size) == (6, 3 + 20 + 4 + 2 + 1)
    chosen = torch.tensor([4, 0])
    for name in ("classes", "tokens", "mask", "pooled", "guidance"):
        assert torch.equal(getattr(LAYOUT.unpack(labels), name), getattr(given, name))
        assert torch.equal(getattr(LAYOUT.unpack(labels[chosen]), name), getattr(given, name)[chosen])


def test_gradients_pass_through_both_ways() -> None:
    given = condition()
    assert given.tokens is not None
    given.tokens.requires_grad_(True)
    tokens = LAYOUT.unpack(LAYOUT.pack(given)).tokens
    assert tokens is not None
    tokens.square().sum().backward()
    torch.testing.assert_close(given.tokens.grad, 2 * given.tokens.detach())


def test_parts_that_a_layout_lacks_are_none() -> None:
    only = Layout(classes=3)
    labels = only.pack(Condition(classes=torch.eye(3)))
    assert torch.equal(labels, torch.eye(3))
    found = only.unpack(labels)
    assert (found.tokens, found.mask, found.pooled, found.guidance) == (None,) * 4


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="mask: 4 numbers for each image are wanted"):
        LAYOUT.pack(Condition(classes=torch.eye(3), tokens=torch.zeros(3, 4, 5)))
    with pytest.raises(UsageError, match="pooled: 0 numbers"):
        Layout(classes=3).pack(Condition(classes=torch.eye(3), pooled=torch.zeros(3, 2)))
    with pytest.raises(UsageError, match="are not rows of 30"):
        LAYOUT.unpack(torch.zeros(2, 29))
    with pytest.raises(UsageError, match="no labels to pack"):
        Layout().pack(Condition())


def test_without_words_the_guidance_scale_stays() -> None:
    labels = LAYOUT.pack(condition())
    empty = LAYOUT.without_words(labels)
    assert torch.equal(empty[:, -1], labels[:, -1]) and not empty[:, :-1].any()
    assert not Layout(classes=3).without_words(torch.eye(3)).any()
