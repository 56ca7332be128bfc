"""The Embedding Loss as a component, on a state and a step made by hand."""

from __future__ import annotations

from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

import distillkit_el.features
import pytest
import torch
from distillkit_el.loss import EmbeddingLoss
from torch import Tensor, nn

from distillkit.api import Choice, Dataset, Embedding, Kernel, UsageError
from distillkit.mmd import bandwidth2, mmd2

SIZE, PIXELS = 40, (1, 2, 2)


class Gauss(Kernel):
    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        k = r.neg().exp()
        return k, -k


class Inner(Kernel):
    radial = False

    def profile(self, r: Tensor) -> tuple[Tensor, Tensor]:
        return r, torch.ones_like(r)


class Flat(Embedding):
    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        return nn.Flatten()


class Mix(Embedding):
    """A random linear map and a tanh."""

    def module(self, resolution: int, channels: int, seed: int) -> nn.Module:
        net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh()).requires_grad_(False)
        net[1].weight.copy_(torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)))
        net[1].bias.zero_()
        return net


class Toy(Dataset):
    """Normal pixels; image i has label i mod 2."""

    resolution, channels, label_dim, shape = 2, 1, 2, PIXELS

    def __init__(self) -> None:
        super().__init__(None)
        self.x = torch.randn(SIZE, *PIXELS, generator=torch.Generator().manual_seed(1))
        self.read = 0

    def __len__(self) -> int:
        return SIZE

    def images(self, index: Tensor) -> Tensor:
        self.read += len(index)
        return self.x[index]

    def labels(self, index: Tensor) -> Tensor:
        return torch.eye(2)[index % 2]


def choice(cls: type, kind: str = "embedding", name: str | None = None, **keys: Any) -> Choice:
    return Choice(kind, name or cls.__name__.lower(), cls, cls.Config(**keys))


def state(iteration: int = 0, **changes: Any) -> SimpleNamespace:
    made = SimpleNamespace(
        seed=3, nimg=8 * iteration, iteration=iteration, batch=8, device=torch.device("cpu"), dtype=torch.float32,
        dataset=Toy(), recorded={},
    )  # fmt: skip
    made.record = lambda name, value: made.recorded.setdefault(name, []).append(value)
    vars(made).update(changes)
    return made


def step(x: Tensor, labels: Tensor | None = None) -> SimpleNamespace:
    return SimpleNamespace(x=x.clone().requires_grad_(), labels=labels)


def images(n: int = 8, seed: int = 7) -> Tensor:
    return torch.randn(n, *PIXELS, generator=torch.Generator().manual_seed(seed))


def loss(at: SimpleNamespace, **keys: Any) -> EmbeddingLoss:
    keys = {"embeddings": (choice(Flat), choice(Mix)), "kernel": choice(Gauss, "kernel"), "real_batch": 16} | keys
    part = EmbeddingLoss(EmbeddingLoss.Config(**keys))
    part.setup(state=at)
    return part


def run(part: EmbeddingLoss, at: SimpleNamespace, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Value and gradient at x."""
    seen = step(x, labels)
    term = part.auxiliary_loss(state=at, step=seen)
    assert term.name == "embedding" and term.value.shape == ()
    return term.value.detach(), torch.autograd.grad(term.value, seen.x)[0]


def by_hand(part: EmbeddingLoss, at: SimpleNamespace, x: Tensor, biased: bool = False) -> tuple[Tensor, Tensor]:
    """The mean over embeddings with one graph for everything; first step only: the bandwidth is the batch's own."""
    x = x.clone().requires_grad_()
    total = torch.zeros(())
    for net in part.nets:
        fake, real = net(x), net(at.dataset.images(part._index(at)))
        total = total + mmd2(fake, real, part.kernel, bandwidth2(fake, real), biased=biased) / len(part.nets)
    return total.detach(), torch.autograd.grad(total, x)[0]


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


def test_a_factor_in_front_of_the_term_reaches_the_gradient() -> None:
    at = state()
    part, seen = loss(at), step(images())
    (3 * part.auxiliary_loss(state=at, step=seen).value).backward()
    torch.testing.assert_close(seen.x.grad, 3 * by_hand(part, at, images())[1])


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
    part.auxiliary_loss(state=at, step=seen).value.backward()
    assert seen.x.grad is not None and at.dataset.x.grad is None and part.nets[1][1].weight.grad is None


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
    at, needed = state(), SIZE * (4 + 3) * 4 / 2**20
    for bank_mb, made in ((needed, True), (0.99 * needed, False)):
        part = loss(at, bank_mb=bank_mb)
        run(part, at, images())
        assert (part.real.bank is not None) == made


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
    same = [torch.equal(a, b) for a, b in zip(weights, weights[1:], strict=False)]
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


def test_bandwidths_are_averaged_over_steps() -> None:
    at = state()
    part = loss(at, embeddings=(choice(Flat),), bandwidth_ema=0.5)
    measured = []
    for iteration in range(3):
        at.iteration, at.nimg = iteration, 8 * iteration
        x = images(seed=iteration)
        run(part, at, x)
        measured.append(bandwidth2(x.flatten(1), at.dataset.images(part._index(at)).flatten(1)))
    expected = ((measured[0] + measured[1]) / 2 + measured[2]) / 2
    torch.testing.assert_close(part.bandwidths.s2[0], expected)


def test_images_that_are_not_finite_fail_their_step_and_no_later_one() -> None:
    at = state()
    part, broken = loss(at), images()
    broken[2] = torch.nan
    assert run(part, at, broken)[0].isnan()
    value, gradient = run(part, at, images())
    assert value.isfinite() and gradient.isfinite().all()


def test_joint_adds_the_labels_as_coordinates() -> None:
    at, labels = state(), torch.eye(2)[torch.arange(8) // 4]
    part = loss(at, mode="joint", beta=0.7, embeddings=(choice(Flat),))
    index = part._index(at)
    fake, real = images().flatten(1), at.dataset.x[index].flatten(1)
    s2 = bandwidth2(fake, real)

    def k(a: Tensor, b: Tensor, la: Tensor, lb: Tensor) -> Tensor:
        apart = la.argmax(1)[:, None] != lb.argmax(1)
        return (-torch.cdist(a, b).square() / s2 - 2 * 0.7**2 * apart).exp()

    lr = at.dataset.labels(index)
    ff, rr = k(fake, fake, labels, labels), k(real, real, lr, lr)
    expected = (ff.sum() - 8) / 56 - 2 * k(fake, real, labels, lr).mean() + (rr.sum() - 16) / 240
    torch.testing.assert_close(run(part, at, images(), labels)[0], expected, rtol=1e-4, atol=1e-6)


def test_per_class_compares_each_class_with_its_own() -> None:
    at = state()
    labels = torch.eye(2)[torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])]
    part = loss(at, mode="per_class", embeddings=(choice(Flat),))
    index = part._index(at)
    fake, real = images().flatten(1), at.dataset.x[index].flatten(1)
    s2 = bandwidth2(fake, real)
    zero, one = (
        mmd2(fake[of], real[index % 2 == label], part.kernel, s2) for label, of in enumerate((slice(0, 3), slice(3, 8)))
    )
    torch.testing.assert_close(run(part, at, images(), labels)[0], (3 * zero + 5 * one) / 8)


def test_per_class_leaves_out_a_class_with_one_image_and_may_be_left_with_none() -> None:
    at = state()
    part = loss(at, mode="per_class", embeddings=(choice(Flat),))
    single = torch.eye(2)[torch.tensor([0, 1, 1, 1, 1, 1, 1, 1])]
    value, gradient = run(part, at, images(), single)
    assert value != 0 and not gradient[0].any() and gradient[1:].any()
    value, gradient = run(part, at, images(2), torch.eye(2))
    assert value == 0 and not gradient.any()


def test_l2_puts_features_on_the_sphere_so_scale_is_forgotten() -> None:
    at = state()
    part = loss(at, normalize="l2", embeddings=(choice(Flat),))
    torch.testing.assert_close(run(part, at, images())[0], run(part, at, 5 * images())[0])


def test_mixed_precision_and_double_precision_are_kept_apart() -> None:
    at = state()
    plain = run(loss(at), at, images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(plain, run(loss(at), at, images()), strict=True))
    exact = state(dtype=torch.float64)
    value, gradient = run(loss(exact), exact, images().double())
    assert gradient.dtype == torch.float64
    torch.testing.assert_close(value.float(), plain[0])


@pytest.mark.parametrize(
    "keys, changes, message",
    [
        ({}, {"batch": 1}, "run.batch is 1"),
        ({"real_batch": 1}, {}, "real_batch 1"),
        ({"mode": "joint", "kernel": choice(Inner, "kernel")}, {}, 'kernel "inner"'),
    ],
)
def test_recipes_that_cannot_work_are_refused_before_the_first_step(
    keys: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        loss(state(**changes), **keys)


def test_labels_are_needed_where_they_are_used() -> None:
    at = state()
    at.dataset.label_dim = 0
    with pytest.raises(UsageError, match="needs labels"):
        loss(at, mode="per_class")


class Digitlike(Toy):
    resolution, channels, shape = 8, 1, (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.x = torch.randn(SIZE, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def installed(kind: str) -> dict[str, type]:
    return {point.name: point.load() for point in entry_points(group=f"distillkit.{kind}")}


def test_the_installed_embeddings_and_kernels_all_work_together() -> None:
    if not (embeddings := installed("embedding")) or not (kernels := installed("kernel")):
        pytest.skip("needs distillkit-embeddings and distillkit-kernels")
    every = tuple(choice(cls, name=name) for name, cls in embeddings.items())
    x = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(7))
    for name, kernel in kernels.items():
        at = state(dataset=Digitlike())
        value, gradient = run(loss(at, embeddings=every, kernel=choice(kernel, "kernel", name)), at, x)
        assert value.isfinite() and gradient.isfinite().all() and gradient.abs().sum() > 0
    at = state(dataset=Digitlike())
    part = loss(at, embeddings=tuple(c for c in every if c.name != "pixels"), copies=4)
    run(part, at, x)
    assert len(part.nets) == 16  # the paper's 4 x 4
