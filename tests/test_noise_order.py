"""The order of data: every epoch a permutation that looks random, of which any part costs the same at any size."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distillkit import noise
from distillkit.noise.order import permuted, sides

FEW = settings(max_examples=30, derandomize=True, deadline=None)


@FEW
@given(st.integers(1, 60), st.integers(0, 150), st.lists(st.integers(1, 50), min_size=1, max_size=5))
def test_the_data_order_does_not_depend_on_how_it_is_sliced(size: int, first: int, parts: list[int]) -> None:
    whole = noise.shuffled(1, "data", first, sum(parts), size)
    at, pieces = first, []
    for n in parts:
        pieces.append(noise.shuffled(1, "data", at, n, size))
        at += n
    assert torch.equal(torch.cat(pieces), whole)


@FEW
@given(st.integers(1, 60), st.integers(0, 2**31), st.integers(0, 4))
def test_every_epoch_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    order = noise.shuffled(seed, "data", epoch * size, size, size)
    assert order.sort().values.tolist() == list(range(size))


def test_epochs_seeds_and_streams_are_ordered_differently() -> None:
    orders = {
        tuple(noise.shuffled(seed, stream, epoch * 50, 50, 50).tolist())
        for seed in (0, 1) for stream in ("a", "b") for epoch in (0, 1)
    }  # fmt: skip
    assert len(orders) == 8


def test_no_rows_are_no_work() -> None:
    assert noise.shuffled(0, "data", 7, 0, 5).shape == (0,) and noise.shuffled(0, "data", 7, 0, 5).dtype == torch.int64


def test_another_epoch_begins_where_one_ends() -> None:
    order = noise.shuffled(0, "data", 0, 3000, 1000).view(3, 1000)
    assert all(sorted(epoch.tolist()) == list(range(1000)) for epoch in order)
    assert torch.equal(noise.shuffled(0, "data", 995, 10, 1000), torch.cat([order[0, -5:], order[1, :5]]))


def test_it_is_a_permutation_for_all_sizes_from_1_to_5000() -> None:
    for size in range(1, 5001):
        keys = np.full(size, 77 * size, dtype=np.uint64)
        found = permuted(np.arange(size, dtype=np.uint64), keys, size)
        assert np.bincount(found.astype(np.int64), minlength=size).max() == 1 and len(found) == size, size


def test_the_domain_is_hardly_larger_than_the_size_and_almost_square() -> None:
    for size in [*range(1, 5001), 60_000, 1_281_167, 10**7 + 19, 10**9 + 7, 10**12 + 39]:
        a, b = sides(size)
        assert size <= a * b <= size + 2 * math.isqrt(size) + 1 and a * b % 2 == 0, size
        assert max(a, b) <= 2.5 * min(a, b), size
    assert math.prod(sides(1_281_167)) - 1_281_167 < 100


def worst(counts: torch.Tensor) -> float:
    """How many standard deviations a chi-square of counts that should be alike is from what chance gives."""
    expected, freedom = float(counts.double().mean()), counts.numel() - 1
    return abs(float(((counts - expected) ** 2 / expected).sum()) - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 13, 37, 64, 101, 200])
def test_every_item_comes_to_every_position_equally_often(size: int) -> None:
    """Over 50 times as many epochs as there are items. The sums of rows and columns are fixed."""
    epochs = 50 * size
    order = noise.shuffled(3, "data", 0, epochs * size, size).view(epochs, size)
    counts = torch.zeros(size, size).index_put_(
        (torch.arange(size).expand_as(order), order), torch.ones(()), accumulate=True
    )
    chi, freedom = float(((counts - 50) ** 2 / 50).sum()) * (size - 1) / size, (size - 1) ** 2
    assert abs(chi - freedom) < 4.5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("size", [3, 4, 5, 6, 7])
def test_all_orders_of_a_few_items_come_equally_often(size: int) -> None:
    epochs = 50 * math.factorial(size)
    order = noise.shuffled(1, "data", 0, epochs * size, size).view(epochs, size)
    counts = (order @ size ** torch.arange(size)).unique(return_counts=True)[1]
    assert len(counts) == math.factorial(size) and worst(counts) < 4.5


@pytest.mark.parametrize("size", [1000, 1437, 1_281_167])
def test_epochs_and_neighbours_know_nothing_of_each_other(size: int) -> None:
    """Correlations of positions: of an epoch with the next, of an item with the one after it, of the index itself."""
    n = min(size - 8, 100_000)
    a, b = (noise.shuffled(0, "data", epoch * size, n + 8, size).double() / size - 0.5 for epoch in (4, 5))
    steps = torch.arange(n, dtype=torch.float64) / size - n / size / 2
    pairs = [(a[:n], b[:n]), (a[:n], steps), *((a[:n], a[k : n + k]) for k in range(1, 9))]
    for x, y in pairs:
        assert abs(float(torch.corrcoef(torch.stack([x, y]))[0, 1])) < 4.5 / math.sqrt(n)


@pytest.mark.parametrize("size", [1000, 50_000, 1_281_167])
def test_pairs_of_neighbours_fall_everywhere(size: int) -> None:
    """A 16 x 16 table of where an item and the next one come from."""
    order = noise.shuffled(8, "data", 0, min(size, 100_000) // 2 * 2, size) * 16 // size
    counts = (order[::2] * 16 + order[1::2]).bincount(minlength=256)
    assert worst(counts) < 4.5


def test_a_billion_items_take_no_memory() -> None:
    noise.shuffled(0, "data", 0, 256, 10**9)
    tracemalloc.start()
    order = noise.shuffled(0, "data", 10**9 - 128, 256, 10**9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000 and len(order.unique()) == 256
    assert 0 <= int(order.min()) < 10**8 and 9 * 10**8 < int(order.max()) < 10**9
    assert torch.equal(noise.shuffled(0, "data", 10**9, 64, 10**9), order[128:192])
