"""Dropout by number: the masks look random, and are the same however a batch is cut, recomputed or differentiated."""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Thread

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from distillkit import noise


def kept(first: int, n: int, elements: int, calls: int, p: float = 0.5, seed: int = 7) -> Tensor:
    """1 where an element is kept, float64 [calls,n,elements]."""
    with noise.masks(seed, first, n):
        x = torch.ones(n, elements, dtype=torch.float64)
        return torch.stack([noise.dropout(x, p) for _ in range(calls)]).sign()


def chi_square(counts: Tensor, trials: int, p: float) -> float:
    """How many standard deviations the sum of squared deviations of `counts` is from what chance gives."""
    spread = (counts - trials * (1 - p)).square() / (trials * p * (1 - p))
    return float((spread.sum() - spread.numel()) / math.sqrt(2 * spread.numel()))


@pytest.mark.parametrize("p", [0.05, 0.13, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2**62 + 5])
def test_elements_rows_and_calls_are_kept_as_often_as_chance_has_it(p: float, seed: int) -> None:
    found = kept(1000, 300, 200, 50, p, seed)
    for axis in ((1, 2), (0, 2), (0, 1), (0,), (1,), (2,)):
        counts = found.sum(axis)
        assert abs(chi_square(counts, found.numel() // counts.numel(), p)) < 4.5, axis


def test_each_row_keeps_its_share_with_the_spread_that_chance_has() -> None:
    found = kept(0, 2000, 1500, 1, 0.3)[0].mean(1)
    assert found.std().item() == pytest.approx(math.sqrt(0.3 * 0.7 / 1500), rel=0.06)


@pytest.mark.parametrize("step", [1, 2, 3, 8, 64, 1024])
def test_neighbours_in_element_row_and_call_know_nothing_of_each_other(step: int) -> None:
    """Correlation of a mask with itself, moved along each axis, against 4.5 standard deviations."""
    found = (kept(0, 60, 60, 60) if step < 60 else kept(0, 3, 4100, 1)) * 2 - 1
    for axis in range(3):
        if (length := found.shape[axis] - step) > 0:
            a, b = found.narrow(axis, 0, length), found.narrow(axis, step, length)
            assert abs(float((a * b).sum())) < 4.5 * math.sqrt(a.numel()), axis


def test_no_two_rows_or_calls_have_correlated_masks() -> None:
    found = kept(0, 20, 2048, 20).flatten(0, 1) * 2 - 1  # 400 masks
    correlation = (found @ found.T / 2048).triu(1)
    assert correlation.abs().max() < 5.8 / math.sqrt(2048)  # of 79,800 pairs


def test_bits_in_groups_take_all_patterns_equally_often() -> None:
    """Ten elements in a row: all 1,024 patterns."""
    found = kept(0, 100, 2000, 5).long().view(-1, 10) @ (2 ** torch.arange(10))
    counts = found.bincount(minlength=1024).double()
    expected = counts.sum() / 1024
    assert abs(float(((counts - expected) ** 2 / expected).sum() - 1023) / math.sqrt(2 * 1023)) < 4.5


@pytest.mark.parametrize("parts", [[24], [12, 12], [6, 6, 6, 6], [1, 16, 7], [24 * 1]])
def test_a_mask_does_not_depend_on_which_rows_stand_beside(parts: list[int]) -> None:
    whole, at, pieces = kept(100, 24, 33, 3), 100, []
    for n in parts:
        pieces.append(kept(at, n, 33, 3))
        at += n
    assert torch.equal(torch.cat(pieces, 1), whole)


def test_seed_row_and_call_each_make_other_masks() -> None:
    found = torch.stack([kept(0, 4, 64, 2), kept(4, 4, 64, 2), kept(0, 4, 64, 2, seed=8)]).flatten(0, 2)
    assert len(found.unique(dim=0)) == len(found) == 24


def test_of_several_batches_in_one_each_has_masks_of_its_own_by_row() -> None:
    """Real and fake images of one step, concatenated."""
    x = torch.ones(8, 40)
    with noise.masks(3, 10, 4):
        both = noise.dropout(x)
    with noise.masks(3, 10, 4):
        assert torch.equal(noise.dropout(x[:4]), both[:4])
    with noise.masks(3, 12, 2):  # the second half of the rows, of either
        assert torch.equal(noise.dropout(x[:4]), torch.cat([both[2:4], both[6:]]))
    assert not torch.equal(both[:4], both[4:])
    with noise.masks(3, 10, 4):  # other work than the step's rows
        assert torch.equal(noise.dropout(x[:7]), both[:7])


def test_a_share_of_other_work_has_the_masks_of_its_rows_whatever_the_batch() -> None:
    """Stored pairs, more than the batch holds, in one process and in two."""
    x, found = torch.ones(10, 40), []
    for first, n, batch in ((0, 10, 4), (0, 7, 2), (7, 3, 2)):
        with noise.masks(3, 100 + first, batch):
            noise.dropout(x[:batch])
            with noise.masks_of(first, n):
                found.append(noise.dropout(x[first : first + n]))
            noise.dropout(x[:batch])
    assert torch.equal(torch.cat(found[1:]), found[0])
    with noise.masks_of(0, 4):
        assert noise.dropout(x[:4], 0.0) is not None and noise.dropout(x[:4]).shape == (4, 40)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.1, 0.35])
def test_every_dtype_has_the_same_masks_and_keeps_the_mean(dtype: torch.dtype, p: float) -> None:
    with noise.masks(1, 0, 64):
        y = noise.dropout(torch.full((64, 4096), 1.5, dtype=dtype), p)
    assert y.dtype == dtype and torch.equal(y.sign().double(), kept(0, 64, 4096, 1, p, seed=1)[0])
    values = y[y != 0].unique()
    assert len(values) == 1 and values.item() == pytest.approx(1.5 / (1 - p), rel=torch.finfo(dtype).eps)
    share = float((y != 0).double().mean())
    assert abs(share - (1 - p)) < 4.5 * math.sqrt(p * (1 - p) / y.numel())


def test_nothing_happens_for_p_0_in_evaluation_or_to_no_rows_and_p_1_leaves_nothing() -> None:
    x = torch.randn(4, 5)
    with noise.masks(1, 0, 4):
        assert noise.dropout(x, 0.0) is x and noise.dropout(x, 0.5, training=False) is x
        assert noise.dropout(x[:0], 0.5).shape == (0, 5)
        assert not noise.dropout(x, 1.0).any() and (noise.dropout(x, 1 - 1e-12) == 0).all()
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"in \[0,1\], not"):
            noise.dropout(x, p)


def test_elsewhere_it_is_torchs_and_torchs_generator_is_left_alone_inside() -> None:
    x = torch.ones(4, 50)
    torch.manual_seed(0)
    found = noise.dropout(x, 0.3)
    torch.manual_seed(0)
    assert torch.equal(found, nn.functional.dropout(x, 0.3))
    before = torch.get_rng_state()
    with noise.masks(0, 0, 4):
        noise.dropout(x)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pass_within_a_pass_leaves_the_masks_of_the_outer_one() -> None:
    x = torch.ones(4, 50)
    with noise.masks(0, 0, 4):
        first = noise.dropout(x)
        with noise.masks(1, 0, 4):
            noise.dropout(x)
        second = noise.dropout(x)
    with noise.masks(0, 0, 4):
        assert torch.equal(noise.dropout(x), first) and torch.equal(noise.dropout(x), second)


def test_threads_have_masks_of_their_own() -> None:
    x, found = torch.ones(2, 60), {}

    def rank(first: int) -> None:
        with noise.masks(5, first, 2):
            found[first] = torch.stack([noise.dropout(x) for _ in range(50)])

    threads = [Thread(target=rank, args=(first,)) for first in (0, 2)]
    with noise.masks(9, 0, 2):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert torch.equal(torch.cat([found[0], found[2]], 1).sign().double(), kept(0, 4, 60, 50, seed=5))


def test_masks_that_are_kept_serve_twice_and_so_do_torchs_numbers() -> None:
    x = torch.ones(4, 50)
    for drop in (noise.dropout, nn.functional.dropout):
        with noise.masks(0, 0, 4):
            with noise.masks_kept():
                first = [drop(x), drop(x)]
            again = [drop(x), drop(x)]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(*first)


class Net(nn.Module):
    """Two layers, each behind dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 32, dtype=torch.float64), nn.Linear(32, 6, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(noise.dropout(torch.tanh(self.a(noise.dropout(x, 0.3))), 0.4))


def gradients(call: Callable[[nn.Module, Tensor], Tensor]) -> list[Tensor]:
    torch.manual_seed(0)
    net, x = Net(), torch.randn(5, 6, dtype=torch.float64)
    with noise.masks(3, 0, 5):
        y = call(net, x) + call(net, 2 * x)
    with noise.masks(4, 0, 5):  # another pass comes before the backward pass
        noise.dropout(x)
        noise.dropout(x)
        y.square().sum().backward()
        after = noise.dropout(x)
    with noise.masks(4, 0, 5):
        assert torch.equal([noise.dropout(x) for _ in range(3)][-1], after), "recomputing moved the masks of others"
    return [y.detach(), *(p.grad for p in net.parameters())]


def test_a_recomputed_block_drops_what_it_dropped_at_first() -> None:
    plain = gradients(lambda net, x: net(x))
    again = gradients(lambda net, x: checkpoint(net, x, use_reentrant=False, context_fn=noise.masks_again))
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_a_block_can_be_recomputed_twice_and_outside_a_pass() -> None:
    x = torch.ones(4, 50, requires_grad=True)
    with noise.masks(0, 0, 4):
        y = checkpoint(noise.dropout, x, use_reentrant=False, context_fn=noise.masks_again)
    first = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    second = torch.autograd.grad(y.sum(), x)[0]
    assert torch.equal(first, y) and torch.equal(second, y)
    y = checkpoint(noise.dropout, x, use_reentrant=False, context_fn=noise.masks_again)  # torch's dropout
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], y)


def test_forward_mode_derivatives_take_the_mask_for_a_constant() -> None:
    x, v = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    with noise.masks(3, 0, 5):
        y, moved = torch.func.jvp(noise.dropout, (x,), (v,))
    with noise.masks(3, 0, 5):
        assert torch.equal(noise.dropout(x), y)
    with noise.masks(3, 0, 5):
        assert torch.equal(noise.dropout(v), moved)
    with noise.masks(3, 0, 5), torch.autograd.forward_ad.dual_level():
        dual = noise.dropout(torch.autograd.forward_ad.make_dual(x, v))
        assert torch.equal(torch.autograd.forward_ad.unpack_dual(dual).tangent, moved)


def test_under_vmap_all_copies_drop_the_same() -> None:
    x = torch.randn(3, 5, 6)
    with noise.masks(3, 0, 5):
        y = torch.func.vmap(noise.dropout)(x)
    with noise.masks(3, 0, 5):
        mask = noise.dropout(torch.ones(5, 6))
    assert torch.equal(y, x * mask)


def test_on_meta_there_are_shapes_alone() -> None:
    with noise.masks(0, 0, 3, "meta"):
        assert noise.dropout(torch.empty(6, 4, device="meta")).shape == (6, 4)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_under_the_compiler_the_masks_are_those_without_it_and_nothing_is_compiled_twice(backend: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    net, x = Net(), torch.randn(5, 6, dtype=torch.float64)
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    for nimg in range(4):
        with noise.masks(nimg, 5 * nimg, 5):
            want = net(x), net(x)
        with noise.masks(nimg, 5 * nimg, 5), torch._dynamo.config.patch(error_on_recompile=nimg > 1):
            found = compiled(x), compiled(x)
        assert torch.equal(found[0], want[0]) and torch.equal(found[1], want[1])
    torch._dynamo.reset()
