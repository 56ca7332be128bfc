"""The tiled squared MMD against its definition, written out pair by pair."""

from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distillkit import mmd
from distillkit.api import Kernel


class Gauss(Kernel):
    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        k = r.neg().exp()
        return k, -k


class Distance(Kernel):
    """-sqrt(r): its derivative is singular where points meet."""

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        root = r.sqrt()
        return -root, torch.where(root == 0, 0, -0.5 / root)


class Cubic(Kernel):
    """r^3 of an inner product: not radial, and not invariant to a shift."""

    radial = False

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return r**3, 3 * r**2


KERNELS = [Gauss(None), Distance(None), Cubic(None)]


def rows(n: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gram(a: Tensor, b: Tensor, kernel: Kernel, s2: float) -> Tensor:
    r = (a[:, None] - b[None]).square().sum(2) if kernel.radial else (a[:, None] * b[None]).sum(2)
    return kernel.profile(r / s2)[0]


def by_definition(fake: Tensor, real: Tensor, kernel: Kernel, s2: float, biased: bool) -> Tensor:
    def own(a: Tensor) -> Tensor:
        k = gram(a, a, kernel, s2)
        keep = torch.ones_like(k) if biased else 1 - torch.eye(len(a), dtype=k.dtype)
        return torch.where(keep == 1, k, 0).sum() / keep.sum()

    return own(fake) - 2 * gram(fake, real, kernel, s2).mean() + own(real)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(n=st.integers(2, 9), m=st.integers(2, 9), width=st.integers(1, 4), tile=st.integers(1, 11), biased=st.booleans())
def test_any_tile_and_any_sizes_give_the_definition(
    kernel: Kernel, n: int, m: int, width: int, tile: int, biased: bool
) -> None:
    fake, real = rows(n, width, 1) + 0.3, rows(m, width, 2)
    tiled = mmd.mmd2(fake, real, kernel, 1.7, biased=biased, tile=tile)
    naive = by_definition(fake, real, kernel, 1.7, biased)
    assert tiled.item() == pytest.approx(naive.item(), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: type(kernel).__name__)
def test_the_gradient_is_the_derivative_of_the_value(kernel: Kernel, biased: bool) -> None:
    fake, real = rows(5, 3, 1).requires_grad_(), rows(7, 3, 2)
    assert torch.autograd.gradcheck(lambda a: mmd.mmd2(a, real, kernel, 0.9, biased=biased, tile=2), (fake,))


@pytest.mark.parametrize("biased", [False, True])
def test_the_gradient_equals_autograd_through_the_definition(biased: bool) -> None:
    fake, real = rows(6, 4, 1).requires_grad_(), rows(9, 4, 2)
    (tiled,) = torch.autograd.grad(3 * mmd.mmd2(fake, real, KERNELS[0], 2.0, biased=biased, tile=4), fake)
    r_ff = (fake[:, None] - fake[None]).square().sum(2) / 2
    r_fr = (fake[:, None] - real[None]).square().sum(2) / 2
    off = (-r_ff).exp().sum() - 6
    own = (off + 6) / 36 if biased else off / 30
    (naive,) = torch.autograd.grad(3 * (own - 2 * (-r_fr).exp().mean()), fake)
    torch.testing.assert_close(tiled, naive, rtol=1e-12, atol=1e-14)


def test_equal_points_do_not_push_each_other() -> None:
    fake = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    mmd.mmd2(fake, torch.ones(2, 2, dtype=torch.float64), KERNELS[1], 1.0, biased=True).backward()
    assert fake.grad is not None and fake.grad.isfinite().all()
    torch.testing.assert_close(fake.grad, fake.new_full((3, 2), -2 / 3 / math.sqrt(2)))  # straight towards the reals


def test_a_hand_worked_case_of_two_against_two() -> None:
    fake, real = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]])
    ff, fr, rr = math.exp(-1), (1 + math.exp(-4) + 2 * math.exp(-1)) / 4, math.exp(-4)
    assert mmd.mmd2(fake, real, KERNELS[0], 1.0).item() == pytest.approx(ff - 2 * fr + rr, abs=1e-6)
    biased = (1 + ff) / 2 - 2 * fr + (1 + rr) / 2
    assert mmd.mmd2(fake, real, KERNELS[0], 1.0, biased=True).item() == pytest.approx(biased, abs=1e-6)


def test_a_known_real_term_is_taken_and_zero_shifts_the_value_only() -> None:
    fake, real = rows(5, 3, 1).requires_grad_(), rows(7, 3, 2)
    whole = mmd.mmd2(fake, real, KERNELS[0], 1.0)
    known = mmd.self_mean(real, KERNELS[0], 1.0)
    assert torch.equal(whole, mmd.mmd2(fake, real, KERNELS[0], 1.0, real_real=known))
    shifted = mmd.mmd2(fake, real, KERNELS[0], 1.0, real_real=torch.zeros(()))
    torch.testing.assert_close(whole - shifted, known)
    assert torch.equal(torch.autograd.grad(whole, fake)[0], torch.autograd.grad(shifted, fake)[0])


def test_no_gradient_reaches_the_real_rows_or_the_bandwidth() -> None:
    fake, real = rows(5, 3, 1).requires_grad_(), rows(7, 3, 2).requires_grad_()
    s2 = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    mmd.mmd2(fake, real, KERNELS[0], s2).backward()
    assert real.grad is None and s2.grad is None and fake.grad is not None


def test_a_second_derivative_is_refused() -> None:
    fake = rows(5, 3, 1).requires_grad_()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(mmd.mmd2(fake, rows(5, 3, 2), KERNELS[0], 1.0), fake, create_graph=True)


def test_far_from_the_origin_float32_keeps_its_digits() -> None:
    fake, real = rows(40, 16, 1) + 1000, rows(50, 16, 2) + 1000.5
    exact = mmd.mmd2(fake, real, KERNELS[0], 32.0)
    single = mmd.mmd2(fake.float(), real.float(), KERNELS[0], 32.0)
    assert single.item() == pytest.approx(exact.item(), abs=2e-5)


def test_autocast_changes_nothing() -> None:
    fake, real = rows(20, 8, 1, torch.float32).requires_grad_(), rows(30, 8, 2, torch.float32)
    plain = mmd.mmd2(fake, real, KERNELS[0], 16.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(plain, mmd.mmd2(fake, real, KERNELS[0], 16.0))


def test_torchs_newer_switches_of_tf32_neither_stop_it_nor_stay_changed() -> None:
    matmul = torch.backends.cuda.matmul
    before, a, b = matmul.fp32_precision, rows(9, 3, 0), rows(7, 3, 1)
    plain = mmd.mmd2(a, b, KERNELS[0], 2.0)
    try:
        matmul.fp32_precision = "tf32"
        assert torch.equal(mmd.mmd2(a, b, KERNELS[0], 2.0), plain) and matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before


@pytest.mark.parametrize(("n", "biased"), [(1, False), (0, True)])
def test_too_few_rows_are_an_error_that_gives_the_shapes(n: int, biased: bool) -> None:
    with pytest.raises(ValueError, match=rf"fake \[{n}, 3\], real \[4, 3\]"):
        mmd.mmd2(rows(n, 3, 1), rows(4, 3, 2), KERNELS[0], 1.0, biased=biased)


def test_the_mean_bandwidth_is_the_mean_over_pairs() -> None:
    fake, real = rows(6, 3, 1), rows(9, 3, 2) + 2
    pooled = torch.cat([fake, real])
    torch.testing.assert_close(mmd.bandwidth2(fake, real), torch.pdist(pooled).square().mean(), rtol=1e-12, atol=0)


def test_the_median_bandwidth_is_the_median_over_pairs() -> None:
    fake, real = rows(6, 3, 1), rows(9, 3, 2) + 2
    distances = torch.pdist(torch.cat([fake, real])).square()
    torch.testing.assert_close(mmd.bandwidth2(fake, real, "median"), distances.median())


class Peak(TorchDispatchMode):
    """Counts the bytes of storages that operations make while they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        old = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in old | self.seen:
                self.add(x.untyped_storage())
        return result

    def add(self, storage: torch.UntypedStorage) -> None:
        size, key = storage.nbytes(), storage._cdata
        self.seen.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.drop, key, size)

    def drop(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.live -= size


def peak_mb(n: int, width: int, tile: int) -> float:
    fake, real = rows(n, width, 1, torch.float32).requires_grad_(), rows(n, width, 2, torch.float32)
    with Peak() as mode:
        mmd.mmd2(fake, real, KERNELS[0], 2.0 * width, tile=tile).backward()
    return mode.peak / 2**20


def test_memory_is_the_rows_and_a_few_tiles_not_the_matrix() -> None:
    assert 15 < peak_mb(2048, 512, 256) < 40  # the whole matrix in fp32 is 16 MB, and autograd keeps many
    table = 1024 * 64 * 4 / 2**20
    assert peak_mb(1024, 64, 16) < 6 * table


@pytest.mark.parametrize("kernel", KERNELS[:1] + KERNELS[2:])
def test_the_kernel_of_many_small_samples_and_its_gradients_are_by_definition(kernel: Kernel) -> None:
    a, b = (rows(12, 5, seed).view(3, 4, 5).requires_grad_() for seed in (0, 1))
    s2, weight = torch.tensor([0.7, 2.0, 9.0], dtype=torch.float64), rows(12, 4, 2).view(3, 4, 4)
    found = mmd.pairwise(a, b, kernel, s2[:, None, None])
    want = torch.stack([gram(*pair, kernel, float(one)) for *pair, one in zip(a, b, s2, strict=True)])
    torch.testing.assert_close(found, want)
    for one, other in zip(*(torch.autograd.grad((k * weight).sum(), (a, b)) for k in (found, want)), strict=True):
        torch.testing.assert_close(one, other)


def test_samples_that_are_nearer_than_the_least_distance_do_not_push_each_other() -> None:
    a = torch.zeros(1, 2, 3, dtype=torch.float64, requires_grad=True)
    k = mmd.pairwise(a, torch.full((1, 1, 3), 1e-9, dtype=torch.float64), Distance(None), 1.0, least=1e-8)
    assert torch.allclose(k, torch.tensor(-1e-8, dtype=torch.float64), rtol=1e-9, atol=0)
    assert not torch.autograd.grad(k.sum(), a)[0].any()
