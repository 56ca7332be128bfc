"""Metric `frechet`: floors, sanity on digits, seeds, labels, and refusing non-finite images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from distillkit_metrics import reference
from distillkit_metrics.frechet import Frechet
from distillkit_metrics.pixels import measured, quantised
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


def copying(dataset: Dataset, noise: float = 0.0) -> Any:
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
def state(toy: Dataset, tmp_path: Path) -> SimpleNamespace:
    return SimpleNamespace(
        dataset=toy, held_out=toy, cache=tmp_path, nimg=20, total=40, figures=None, device=torch.device("cpu")
    )


@pytest.fixture(scope="module")
def on_digits(digits: SimpleNamespace) -> Frechet:
    metric = Frechet(Frechet.Config(features=Held(digits.features)))
    metric.setup(digits.state)
    return metric


def test_gaussian_noise_is_far_from_digits(on_digits: Frechet, digits: SimpleNamespace) -> None:
    found = on_digits.evaluate(digits.state, gaussian_noise)
    assert found["fd"] > 50 * found["fd_floor"] and found["sfd"] > 50 * found["sfd_floor"] and found["kid"] > 5
    assert found["precision"] < 0.05 and found["coverage"] < 0.05 and found["label_agreement"] < 0.2
    assert found["near_train"] == 0 and on_digits.remarks(found) == []


def test_slightly_noisy_real_digits_reach_the_floor(on_digits: Frechet, digits: SimpleNamespace) -> None:
    found = on_digits.evaluate(digits.state, copying(digits.state.dataset, noise=0.1))
    assert found["fd"] < 2 * found["fd_floor"] and found["sfd"] < found["sfd_floor"]
    assert found["recall"] > 0.8 and found["coverage"] > 0.9 and found["label_agreement"] > 0.97


def test_every_metric_comes_with_its_error_and_its_floor_or_ceiling(state: SimpleNamespace) -> None:
    found = frechet().evaluate(state, copying(state.dataset))
    low = {"fd", "fd_test", "kid", "near_train", "duplicates"}
    high = {"precision", "recall", "density", "coverage", "label_agreement"}
    real = {f"{name}_floor" for name in low} | {f"{name}_ceiling" for name in high}
    assert set(found) == {f"{name}{end}" for name in low | high | real for end in ("", "_sd")}
    assert all(type(value) is float for value in found.values())
    assert found["kid_floor"] == 0 and found["near_train_floor"] == 0.05


def test_without_held_out_images_the_floors_are_of_the_training_images(state: SimpleNamespace) -> None:
    state.held_out = None
    found = frechet().evaluate(state, copying(state.dataset))
    assert not {"fd_test", "label_agreement_ceiling"} & set(found)
    assert found["fd_floor"] > 0 and found["fd_floor_sd"] > 0 and found["recall_ceiling"] > 0.5


def test_where_splits_would_be_too_small_there_are_no_floors(state: SimpleNamespace) -> None:
    state.dataset._x, state.dataset._classes, state.held_out = state.dataset._x[:3], state.dataset._classes[:3], None
    x = state.dataset.images(torch.arange(3))
    found = frechet(images=3, k_precision=1, k_coverage=1).evaluate(state, lambda n, seed, labels: Images(x, labels))
    assert found["precision"] == 1 and not {"precision_ceiling", "fd_floor", "kid_floor"} & set(found)


def test_unconditional_images_have_no_label_agreement_and_floors_of_random_splits(
    unlabelled_toy: Dataset, state: SimpleNamespace
) -> None:
    labelled = frechet().evaluate(state, copying(state.dataset))
    state.dataset = state.held_out = unlabelled_toy
    found = frechet().evaluate(state, copying(unlabelled_toy))
    assert not [name for name in found if "label" in name]
    assert found["fd_floor"] > labelled["fd_floor"], "classes of random proportions add to the distance"


def test_extrapolation_takes_most_of_the_bias_away(on_digits: Frechet, digits: SimpleNamespace) -> None:
    draw = copying(digits.state.dataset, noise=0.3)
    metrics = {
        n: Frechet(Frechet.Config(features=Held(digits.features), images=n, extrapolate=True)) for n in (250, 900)
    }
    few, many = (metric.evaluate(digits.state, draw) for metric in metrics.values())
    assert few["sfd"] - many["sfd"] > 3 * abs(few["sfd_inf"] - many["sfd_inf"])
    assert few["sfd_inf_floor"] == pytest.approx(few["sfd_floor"] * (1 / 1438) / (1 / 250 + 1 / 1438))


def test_one_block_has_its_standard_error(state: SimpleNamespace) -> None:
    found = frechet().evaluate(state, copying(state.dataset, noise=0.5))
    runs = [frechet(first_seed=s).evaluate(state, copying(state.dataset, noise=0.5))["fd"] for s in range(12)]
    assert 0.5 < found["fd_sd"] / torch.tensor(runs).std() < 2


@pytest.mark.parametrize("nimg", [0, 40])
def test_at_the_end_of_a_run_there_are_three_blocks(state: SimpleNamespace, nimg: int) -> None:
    state.nimg = nimg
    draw, asked = copying(state.dataset), []
    metric = frechet(first_seed=2)
    found = metric.evaluate(state, lambda n, seed, labels: (asked.append(seed), draw(n, seed, labels))[1])
    assert asked == [2, 3, 4] and "next 2 blocks" in metric.protocol["seeds"]
    state.nimg = 20
    assert found == frechet(first_seed=2, seeds=3).evaluate(state, draw)


def test_several_seeds_give_mean_and_spread(state: SimpleNamespace) -> None:
    draw = copying(state.dataset, noise=0.1)
    single = [frechet(first_seed=s).evaluate(state, draw)["fd"] for s in (3, 4, 5)]
    found = frechet(seeds=3, first_seed=3).evaluate(state, draw)
    mean = sum(single) / 3
    assert found["fd"] == pytest.approx(mean)
    assert found["fd_sd"] == pytest.approx((sum((v - mean) ** 2 for v in single) / 2) ** 0.5)
    assert len(set(single)) == 3


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
        "reference": f"40 training images, sha256 {reference.digest(state.dataset, 7)}",
        "floor": "c (1/n + 1/m), c by 20 disjoint splits of 80 real images, 20 against 40; ceilings: 3 such splits",
    }


def test_non_finite_images_are_counted_and_refused(state: SimpleNamespace) -> None:
    def broken(n: int, seed: int = 0, labels: Tensor | None = None) -> Images:
        x = torch.zeros(n, 2, 6, 6)
        x[3, 0, 0, 0], x[5, 1, 2, 3], x[5, 0, 0, 0] = torch.nan, torch.inf, torch.nan
        return Images(x, labels)

    with pytest.raises(Diverged, match="2 of 20 generated images"):
        frechet().evaluate(state, broken)


def test_labels_are_asked_for_in_the_proportions_of_the_classes(digits: SimpleNamespace, on_digits: Frechet) -> None:
    dataset = digits.state.dataset
    asked: list[Tensor] = []
    draw = copying(dataset)
    on_digits.evaluate(digits.state, lambda n, seed, labels: (asked.append(labels), draw(n, seed, labels))[1])
    expected = dataset.labels(torch.arange(len(dataset))).mean(0) * 1000
    assert asked[0].shape == (1000, 10) and (asked[0].sum(0) - expected).abs().max() < 1


def test_published_metrics_round_images_to_the_nearest_of_256_levels() -> None:
    levels = torch.arange(256) / 127.5 - 1
    assert torch.equal(quantised(levels), levels)
    x = torch.tensor([-7.0, -1.0, 0.1, 0.998, 1.0, 3.0])
    nearest = levels[(x[:, None] - levels).abs().argmin(1)]
    assert torch.equal(quantised(x), nearest)


def test_measuring_in_chunks_changes_nothing(toy: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    x, features = toy.images(torch.arange(40)), Pixels(Pixels.Config())
    whole = measured(features, x)
    monkeypatch.setattr("distillkit_metrics.pixels.CHUNK", 7)
    for name, value in measured(features, x).items():
        torch.testing.assert_close(value, whole[name])


def test_neighbours_are_sought_among_a_part_of_many_images(
    toy: Dataset, state: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = frechet().evaluate(state, copying(toy, 0.1))
    monkeypatch.setattr("distillkit_metrics.real.NEIGHBOURS", len(toy) // 3 + 1)
    metric = frechet()
    part = metric.evaluate(state, copying(toy, 0.1))
    assert len(metric._real.near.real) == len(range(0, len(toy), 3))
    assert all(whole[name] != part[name] for name in ("precision", "density", "coverage", "kid"))
    assert part["fd"] == whole["fd"] and part["fd_floor"] == whole["fd_floor"]


def test_words_are_held_to_the_class_that_the_data_set_knows_of_them(toy: Any, state: SimpleNamespace) -> None:
    embedded = torch.tensor([[0.3, 0.9, 0.1], [0.2, 0.8, 0.4]])  # whose largest entry tells nothing
    classes = toy._classes
    worded = type("Worded", (type(toy),), {
        "labels": lambda self, index: embedded[classes[index]], "classes": lambda self, index: classes[index],
    })(label_dim=3)  # fmt: skip
    state.dataset = state.held_out = worded
    metric = frechet()

    def draw(n: int, seed: int = 0, labels: Tensor | None = None) -> Images:
        assert labels is not None
        dark = (labels == embedded[0]).all(1)
        assert int(dark.sum()) == n // 2
        asked = (~dark).long()
        asked[0] = 1 - asked[0]  # one of twenty is of another class
        return Images(toy.images(2 * torch.arange(n) + asked), labels)

    assert "label_agreement" in metric.measures(state)
    metric.setup(state)
    found = metric.evaluate(state, draw)
    assert found["label_agreement"] == pytest.approx(0.95) and found["label_agreement_ceiling"] == 1.0
