"""The Embedding Loss under its further keys: bandwidths, labels, normalisation, precision, other parts."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import pytest
import torch
from attrs import NOTHING, fields
from el_toys import SIZE, Flat, Inner, Toy, choice, images, loss, run, state
from torch import Tensor

from distillkit.api import UsageError
from distillkit.mmd import bandwidth2, mmd2


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
    ("keys", "changes", "message"),
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
    """Those that need no key, such as a file of weights."""
    found = {point.name: point.load() for point in entry_points(group=f"distillkit.{kind}")}
    return {name: cls for name, cls in found.items() if all(a.default is not NOTHING for a in fields(cls.Config))}


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
