"""The Embedding Loss as a component, on a state and a step made by hand."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import distillkit_el.features
import pytest
import torch
from distillkit_el.loss import EmbeddingLoss
from el_toys import SIZE, Flat, Inner, Mix, by_hand, choice, images, loss, run, state, step
from torch import Tensor

from distillkit.mmd import bandwidth2


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("copies", [1, 3])
def test_the_loss_is_the_mean_over_embeddings_and_so_is_its_gradient(estimator: str, copies: int) -> None:
    at = state()
    part = loss(at, estimator=estimator, copies=copies)
    value, gradient = run(part, at, images())
    expected, slope = by_hand(part, at, images(), estimator == "biased")
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)
    assert len(part.nets) == 2 * copies and len(at.recorded["embedding/mix"]) == copies


def test_two_samples_of_one_distribution_have_an_unbiased_loss_of_mean_zero() -> None:
    at, values = state(), []
    part = loss(at, real_batch=8, bank_mb=0)
    for seed in range(400):
        at.dataset.x = images(SIZE, seed=1000 + seed)
        values.append(run(part, at, images(seed=5000 + seed))[0])
    drawn = torch.stack(values)
    assert abs(drawn.mean()) < 3 * drawn.std() / len(drawn) ** 0.5


def test_a_contracted_sample_has_a_positive_loss_whose_descent_spreads_it() -> None:
    at = state(batch=200)
    x = 0.3 * images(200)
    value, gradient = run(loss(at, real_batch=SIZE), at, x)
    assert value > 0.05
    assert (gradient * x).sum() < 0


def test_biased_minus_unbiased_is_the_weight_of_the_diagonal() -> None:
    at = state()
    unbiased, biased = (loss(at, estimator=name, embeddings=(choice(Flat),)) for name in ("unbiased", "biased"))
    gap = run(biased, at, images())[0] - run(unbiased, at, images())[0]
    fake, real = images().flatten(1), at.dataset.images(unbiased._index(at)).flatten(1)
    s2 = bandwidth2(fake, real)
    off = [(-torch.pdist(a).square() / s2).exp().mean() for a in (fake, real)]  # mean k over different images
    torch.testing.assert_close(gap, (1 - off[0]) / 8 + (1 - off[1]) / 16, rtol=1e-4, atol=1e-6)


def test_the_order_of_the_images_does_not_matter() -> None:
    at, order = state(), torch.randperm(8, generator=torch.Generator().manual_seed(1))
    (value, gradient), (shuffled, moved) = (run(loss(at), at, x) for x in (images(), images()[order]))
    torch.testing.assert_close(value, shuffled)
    torch.testing.assert_close(gradient[order], moved)


def test_no_gradient_reaches_real_images_or_embeddings() -> None:
    at = state()
    at.dataset.x.requires_grad_()
    part, seen = loss(at), step(images())
    part.nets[1][1].weight.requires_grad_()
    term = part.auxiliary_loss(state=at, step=seen)
    assert not term.value.requires_grad and not term.grad.requires_grad
    assert seen.x.grad is None and at.dataset.x.grad is None and part.nets[1][1].weight.grad is None


def test_biased_linear_and_redrawn_is_mean_matching() -> None:
    at = state(5)
    part = loss(at, estimator="biased", kernel=choice(Inner, "kernel"), embeddings=(choice(Mix),), refresh_every=1)
    fake, real = part.nets[0](images()), part.nets[0](at.dataset.images(part._index(at)))
    expected = (fake.mean(0) - real.mean(0)).square().sum() / bandwidth2(fake, real)  # arXiv:2110.04181, Eq. (4)
    torch.testing.assert_close(run(part, at, images())[0], expected)


def test_a_batch_beyond_one_block_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    at = state()
    whole = run(loss(at), at, images())
    monkeypatch.setattr(distillkit_el.features, "BLOCK", 3)
    torch.testing.assert_close(run(loss(at), at, images()), whole)


def test_the_bank_gives_the_values_of_no_bank_and_reads_each_image_once() -> None:
    with_bank, without = state(), state()
    banked, plain = loss(with_bank, bank_mb=1), loss(without, bank_mb=0)
    for iteration in range(4):
        for at in (with_bank, without):
            at.iteration, at.nimg = iteration, 8 * iteration
        x = images(seed=iteration)
        torch.testing.assert_close(run(banked, with_bank, x), run(plain, without, x))
    assert with_bank.dataset.read == SIZE + 1 and without.dataset.read == 4 * 16 + 1  # one to learn the width


def test_a_bank_that_does_not_fit_is_not_made() -> None:
    at, features, pairs = state(), SIZE * (4 + 3) * 4 / 2**20, 2 * SIZE**2 * 4 / 2**20
    for bank_mb, made in (
        (features + pairs, (True, True)), (0.99 * (features + pairs), (True, False)), (0.99 * features, (False, False))
    ):  # fmt: skip
        part = loss(at, bank_mb=bank_mb)
        run(part, at, images())
        assert (part.real.bank is not None, part.real.pairs is not None) == made


@pytest.mark.parametrize("keys", [{"estimator": "biased"}, {"mode": "joint"}, {"mode": "per_class"}])
def test_pairs_are_kept_only_where_the_mean_over_them_is_a_term(keys: dict[str, Any]) -> None:
    at = state()
    part = loss(at, **keys)
    run(part, at, images(), torch.eye(2)[torch.arange(8) % 2])
    assert part.real.bank is not None and part.real.pairs is None


def test_known_pairs_of_real_images_give_the_value_to_rounding() -> None:
    at = state(dtype=torch.float64)
    banked, plain = (run(loss(at, bank_mb=mb), at, images().double())[0] for mb in (1, 0))
    torch.testing.assert_close(banked, plain, rtol=1e-12, atol=0)


def test_real_images_depend_on_the_seed_and_on_images_seen_alone() -> None:
    first, later = state(3), state(3)
    part = loss(first)
    assert torch.equal(part._index(first), loss(later)._index(later))
    assert not torch.equal(part._index(first), part._index(state(4)))
    assert not torch.equal(part._index(first), part._index(state(3, seed=4)))
    seen = torch.cat([part._index(state(i)) for i in range(5)])  # 5 x 16 = 2 epochs of 40
    assert torch.equal(seen.bincount(), torch.full((SIZE,), 2))


def test_refreshing_draws_new_embeddings_on_time_and_never_keeps_a_bank() -> None:
    at = state()
    part, weights = loss(at, refresh_every=2, embeddings=(choice(Mix),)), []
    for iteration in range(5):
        at.iteration, at.nimg = iteration, 8 * iteration
        run(part, at, images())
        weights.append(part.nets[0][1].weight.clone())
        assert part.real.bank is None
    same = [torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    assert same == [True, False, True, False]


@pytest.mark.parametrize("refresh_every", [None, 2, 3])
def test_a_resumed_run_goes_on_bit_for_bit(refresh_every: int | None) -> None:
    def values(part: EmbeddingLoss, iterations: range) -> list[Tensor]:
        return [run(part, state(i), images(seed=i))[1] for i in iterations]

    straight = values(loss(state(), refresh_every=refresh_every), range(8))
    before, after = (loss(state(), refresh_every=refresh_every) for _ in range(2))
    values(before, range(5))
    after.load_state_dict(before.state_dict())
    resumed = values(after, range(5, 8))
    assert all(torch.equal(a, b) for a, b in zip(straight[5:], resumed, strict=True))


def test_embeddings_depend_on_both_seeds_their_place_and_their_copy() -> None:
    def weights(at: SimpleNamespace, **keys: Any) -> list[Tensor]:
        return [net[1].weight for net in loss(at, embeddings=(choice(Mix), choice(Mix)), **keys).nets]

    base = weights(state(), copies=2)
    assert all(torch.equal(a, b) for a, b in zip(base, weights(state(), copies=2), strict=True))
    others = [*base, *weights(state(seed=4)), *weights(state(), seed=1)]
    assert len({tuple(w.flatten().tolist()) for w in others}) == len(others)
