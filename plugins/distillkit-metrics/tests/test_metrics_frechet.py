"""Metric `frechet`: floors, sanity on digits, seeds, labels, and refusing non-finite images."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from distillkit_metrics.frechet import Frechet, measured, quantised, stratified_labels
from torch import Tensor

from distillkit.api import Choice, Dataset, Diverged, Features, Images


class Pixels(Features):
    """Mean and spread of the pixels; classes by brightness."""

    prepares = 0

    def prepare(self, dataset: Dataset, held_out: Dataset | None, cache: object) -> None:
        Pixels.prepares += 1

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        x = x.flatten(1)
        return {"penultimate": torch.stack([x.mean(1), x.std(1)], 1), "logits": torch.stack([-x.mean(1), x.mean(1)], 1)}


class Held:
    """A feature network that is ready."""

    def __init__(self, features: Features) -> None:
        self.features = features

    def build(self) -> Features:
        return self.features


def frechet(**keys: object) -> Frechet:
    pixels = Choice("features", "pixels", Pixels, Pixels.Config())
    return Frechet(Frechet.Config(**({"features": pixels, "images": 20} | keys)))


def copying(dataset: Dataset, noise: float = 0.0):
    """A draw that gives training images of the labels asked for."""

    def draw(n: int, seed: int = 0, labels: Tensor | None = None) -> Images:
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(dataset), generator=generator)
        if labels is not None:
            of = dataset.labels(order).argmax(1)
            members = [iter(order[of == c].tolist()) for c in range(labels.shape[1])]
            order = torch.tensor([next(members[c]) for c in labels.argmax(1).tolist()])
        x = dataset.images(order[:n])
        return Images(x + noise * torch.randn(x.shape, generator=generator), labels)

    return draw


def gaussian_noise(n: int, seed: int = 0, labels: Tensor | None = None) -> Images:
    return Images(torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed)), labels)


@pytest.fixture
def state(toy: Dataset, tmp_path) -> SimpleNamespace:
    return SimpleNamespace(dataset=toy, held_out=toy, cache=tmp_path)


@pytest.fixture(scope="module")
def on_digits(digits) -> Frechet:
    metric = Frechet(Frechet.Config(features=Held(digits.features)))
    metric.setup(digits.state)
    return metric


def test_digits_floors_are_small(on_digits: Frechet, digits) -> None:
    floors = on_digits._floors
    assert 0.1 < floors["fd_floor"] < 0.4 and 0.2 < floors["sfd_floor"] < 0.5
    assert floors["fd_test_floor"] == floors["fd_floor"]
    assert floors["label_agreement_floor"] >= 0.985
    assert -1.5 < floors["kid_floor"] < 0.5
    assert floors["precision_floor"] > 0.6 and floors["recall_floor"] > 0.8 and floors["coverage_floor"] > 0.45


def test_gaussian_noise_is_far_from_digits(on_digits: Frechet, digits) -> None:
    found = on_digits.evaluate(digits.state, gaussian_noise)
    assert 30 < found["fd"] < 55 and 9 < found["sfd"] < 16 and found["kid"] > 5
    assert found["precision"] < 0.05 and found["coverage"] < 0.05 and found["label_agreement"] < 0.2


def test_slightly_noisy_real_digits_reach_the_floor(on_digits: Frechet, digits) -> None:
    found = on_digits.evaluate(digits.state, copying(digits.state.dataset, noise=0.2))
    assert found["fd"] < 2 * found["fd_floor"] and found["sfd"] < found["sfd_floor"]
    assert found["recall"] > 0.9 and found["coverage"] > 0.7 and found["label_agreement"] > 0.98


def test_every_metric_comes_with_its_floor(state: SimpleNamespace) -> None:
    found = frechet().evaluate(state, copying(state.dataset))
    names = {"fd", "fd_test", "kid", "precision", "recall", "density", "coverage", "label_agreement"}
    assert set(found) == names | {f"{name}_floor" for name in names}
    assert all(type(value) is float for value in found.values())


def test_held_out_images_equal_to_the_training_images_are_a_perfect_floor(state: SimpleNamespace) -> None:
    found = frechet().evaluate(state, copying(state.dataset))
    assert found["fd_floor"] == pytest.approx(0, abs=1e-9)
    assert [found[f"{name}_floor"] for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert found["label_agreement"] == 1 == found["label_agreement_floor"]


def test_without_held_out_images_there_is_no_floor(state: SimpleNamespace) -> None:
    state.held_out = None
    found = frechet().evaluate(state, copying(state.dataset))
    assert set(found) == {"fd", "kid", "precision", "recall", "density", "coverage", "label_agreement"}


def test_unconditional_images_have_no_label_agreement(unlabelled_toy: Dataset, tmp_path) -> None:
    state = SimpleNamespace(dataset=unlabelled_toy, held_out=unlabelled_toy, cache=tmp_path)
    assert not [name for name in frechet().evaluate(state, copying(unlabelled_toy)) if "label" in name]


def test_several_seeds_give_mean_and_spread(state: SimpleNamespace) -> None:
    draw = copying(state.dataset, noise=0.1)
    single = [frechet(first_seed=s).evaluate(state, draw)["fd"] for s in (3, 4, 5)]
    found = frechet(seeds=3, first_seed=3).evaluate(state, draw)
    mean = sum(single) / 3
    assert found["fd"] == pytest.approx(mean)
    assert found["fd_sd"] == pytest.approx((sum((v - mean) ** 2 for v in single) / 2) ** 0.5)
    assert len(set(single)) == 3 and "fd_floor_sd" not in found


def test_the_real_images_are_measured_once(state: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pixels, "prepares", 0)
    metric = frechet()
    x = state.dataset.images(torch.arange(20))
    metric.setup(state)
    monkeypatch.setattr(state.dataset, "images", None)  # reading them again would fail
    first, second = (metric.evaluate(state, lambda n, seed, labels: Images(x, labels)) for _ in range(2))
    assert first == second and Pixels.prepares == 1


def test_it_tells_what_its_numbers_can_be_compared_with(state: SimpleNamespace) -> None:
    metric = frechet(seeds=3, first_seed=1, k_coverage=7)
    assert metric.protocol == {}, "nothing is measured yet"
    metric.setup(state)
    assert metric.protocol == {
        "protocol": "covariance over N-1, labels in the proportions of the classes, "
        "3 neighbours for precision and recall, 7 for density and coverage",
        "images": "20, clamped to [-1,1]",
        "seeds": "50000-50019, and so in the next 2 blocks of 50000, one CPU generator per image",
        "features": "pixels, sha256 unknown",
        "reference": "40 training images",
    }


def test_non_finite_images_are_counted_and_refused(state: SimpleNamespace) -> None:
    def broken(n: int, seed: int = 0, labels: Tensor | None = None) -> Images:
        x = torch.zeros(n, 2, 6, 6)
        x[3, 0, 0, 0], x[5, 1, 2, 3], x[5, 0, 0, 0] = torch.nan, torch.inf, torch.nan
        return Images(x, labels)

    with pytest.raises(Diverged, match="2 of 20 generated images"):
        frechet().evaluate(state, broken)


def test_labels_are_asked_for_in_the_proportions_of_the_classes(digits) -> None:
    labels = stratified_labels(digits.state.dataset, 1000)
    dataset = digits.state.dataset
    expected = dataset.labels(torch.arange(len(dataset))).mean(0) * 1000
    assert labels.shape == (1000, 10) and (labels.sum(0) - expected).abs().max() < 1


def test_images_are_rounded_to_the_nearest_of_256_levels() -> None:
    levels = torch.arange(256) / 127.5 - 1
    assert torch.equal(quantised(levels), levels)
    x = torch.tensor([-7.0, -1.0, 0.1, 0.998, 1.0, 3.0])
    nearest = levels[(x[:, None] - levels).abs().argmin(1)]
    assert torch.equal(quantised(x), nearest)


def test_measuring_in_chunks_changes_nothing(toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    x, features = toy.images(torch.arange(40)), Pixels(Pixels.Config())
    whole = measured(features, x)
    monkeypatch.setattr("distillkit_metrics.frechet.CHUNK", 7)
    for name, value in measured(features, x).items():
        torch.testing.assert_close(value, whole[name])


def test_neighbours_are_sought_among_a_part_of_many_images(toy: Dataset, state, monkeypatch) -> None:
    whole = frechet().evaluate(state, copying(toy, 0.1))
    monkeypatch.setattr("distillkit_metrics.frechet.NEIGHBOURS", len(toy) // 3 + 1)
    metric = frechet()
    part = metric.evaluate(state, copying(toy, 0.1))
    assert len(metric._near) == len(range(0, len(toy), 3))
    assert all(whole[name] != part[name] for name in ("precision", "density", "coverage", "kid"))
    assert part["fd"] == whole["fd"] and part["fd_floor"] == whole["fd_floor"]
