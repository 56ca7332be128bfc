"""Metrics with published protocols: the reference's numbers, images in parts, references, floors and facts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_metrics import reference as references
from distillkit_metrics.inception_score import inception_score
from distillkit_metrics.manifold import compared
from distillkit_metrics.order import shuffled
from distillkit_metrics.pixels import quantised
from distillkit_metrics.statistics import Moments, Sums, distance_of, distance_of_parts, frechet_distance, moments
from distillkit_metrics.torchscript import Inception

from distillkit.api import Diverged, Images, InputError, UsageError
from distillkit.evaluate.draw import Drawer
from distillkit.testing import toy_state
from distillkit.train.state import State

INCEPTION = {"use": "inception", "network": "inception.pt"}


@pytest.fixture(autouse=True)
def file(inception: Callable[..., Path]) -> Path:
    return inception()


def state_with(use: str, dataset: dict[str, Any] | None = None, **keys: Any) -> State:
    table = {"use": use, "images": 30, "batch": 7, "features": INCEPTION, **keys}
    return toy_state(dataset={"use": "toy", "channels": 3, **(dataset or {})}, evaluate=[table])


def measure(state: State) -> dict[str, float]:
    (found,) = state.evaluators[0].call(state=state, draw=Drawer.student(state))
    return found


def measured(use: str, **keys: Any) -> dict[str, float]:
    return measure(state_with(use, **keys))


def features_of(state: State, x: torch.Tensor) -> torch.Tensor:
    return state.components["evaluate.0"].features(quantised(x))["penultimate"]


def real(state: State, dataset: Any = None) -> torch.Tensor:
    dataset = dataset or state.dataset
    return features_of(state, dataset.images(torch.arange(len(dataset))))


@pytest.mark.parametrize(("ddof", "name"), [(1, "edm"), (0, "stylegan")])
def test_sums_over_parts_give_the_published_codes_numbers(ddof: int, name: str, reference: dict) -> None:
    sides = []
    for side in ("gen_features", "real_features"):
        parts = [Sums(), Sums()]
        for i, f in enumerate(torch.from_numpy(reference[side]).split(77)):
            parts[i % 2].add(f)
        sides.append((parts[0] + parts[1]).moments(ddof))
    expected = torch.from_numpy(reference[f"{name}_sigma_gen"])
    torch.testing.assert_close(sides[0].cov, expected, rtol=1e-6, atol=1e-7)
    assert frechet_distance(*sides) == pytest.approx(float(reference[f"{name}_fid"]), rel=1e-6)


def test_sums_refuse_what_moments_refuse() -> None:
    with pytest.raises(InputError, match="1 of 2 images"):
        Sums().add(torch.tensor([[1.0], [torch.nan]]))
    one = Sums()
    one.add(torch.ones(1, 2))
    with pytest.raises(InputError, match="got 1"):
        one.moments()


def test_the_inception_score_is_that_of_the_reference(reference: dict) -> None:
    mean, sd = inception_score(torch.from_numpy(reference["is_probs"]))
    assert (mean, sd) == pytest.approx((float(reference["is_mean"]), float(reference["is_std"])), rel=1e-6)


def test_the_inception_score_by_hand() -> None:
    sure = torch.eye(4).repeat(5, 1)  # every class as often, no doubt: as many as there are classes
    assert inception_score(sure, splits=5) == pytest.approx((4, 0))
    with pytest.raises(InputError, match=r"10 splits .* got 9"):
        inception_score(torch.ones(9, 2) / 2)


def test_the_fid_is_the_distance_of_all_images_at_once() -> None:
    state = state_with("fid")
    fake = moments(features_of(state, Drawer.student(state)(30, labels="random").x))
    found = measure(state)
    assert set(found) == {"fd", "fd_sd", "fd_floor", "fd_floor_sd"} and found["fd_sd"] > 0
    assert found["fd"] == pytest.approx(frechet_distance(fake, moments(real(state))), rel=1e-6)


def test_the_error_of_parts_is_that_of_all_images_where_those_are_many() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 3, generator=generator, dtype=torch.float64) + 0.5
    unit = Moments(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    parts = [Sums() for _ in range(200)]
    for part, features in zip(parts, x.split(100), strict=True):
        part.add(features)
    value, error = distance_of_parts(parts, unit)
    expected = distance_of(x, unit)
    assert value == pytest.approx(expected[0], rel=1e-9) and error == pytest.approx(expected[1], rel=0.15)


def test_the_fid_does_not_depend_on_the_size_of_the_parts() -> None:
    seven, three = measured("fid", batch=7), measured("fid", batch=3)
    assert seven["fd"] == pytest.approx(three["fd"], rel=1e-6)
    assert seven["fd_floor"] == pytest.approx(three["fd_floor"], rel=1e-6)


def test_stylegans_protocol_divides_by_n_and_asks_for_the_data_sets_classes() -> None:
    state = state_with("fid", protocol="stylegan")
    asked: list[torch.Tensor] = []

    def draw(n: int, seed: int, labels: torch.Tensor, first: int) -> Images:
        asked.append(labels)
        return Drawer.student(state)(n, seed=seed, labels=labels, first=first)

    (found,) = state.evaluators[0].call(state=state, draw=draw)
    labels = torch.cat(asked)
    fake = moments(features_of(state, Drawer.student(state)(30, labels=labels).x), ddof=0)
    assert found["fd"] == pytest.approx(frechet_distance(fake, moments(real(state), ddof=0)), rel=1e-6)
    assert labels.shape == (30, 3) and (labels.sum(0) > 3).all() and not torch.equal(labels[:3], torch.eye(3))
    assert "over N" in state.components["evaluate.0"].protocol["protocol"]


def test_a_reference_file_takes_the_place_of_the_training_images() -> None:
    whole = state_with("fid", floor=False)
    mean, cov = moments(real(whole))
    np.savez("ref.npz", mu=mean.numpy(), sigma=cov.numpy())
    state = state_with("fid", reference="ref.npz")
    state.dataset.images = None  # reading them would fail
    found = measure(state)
    assert found["fd"] == pytest.approx(measure(whole)["fd"], rel=1e-6) and found["fd_floor"] > 0
    digest = hashlib.sha256(Path("ref.npz").read_bytes()).hexdigest()
    assert state.components["evaluate.0"].protocol["reference"] == f"ref.npz, sha256 {digest}"


def test_references_that_do_not_fit_are_refused() -> None:
    eye = np.eye(4)
    bad = {
        "no npz": ("not an npz", None), "objects": ("not an npz", {"mu": np.array([{}]), "sigma": eye}),
        "no sigma": ("sigma", {"mu": eye[0]}), "other width": (r"mu \[5\]", {"mu": np.ones(5), "sigma": np.eye(5)}),
        "nan": ("finite", {"mu": eye[0] * np.nan, "sigma": eye}),
        "skewed": ("symmetric", {"mu": eye[0], "sigma": np.triu(np.ones((4, 4)))}),
    }  # fmt: skip
    for name, (match, arrays) in bad.items():
        Path(f"{name}.npz").write_bytes(b"text")
        if arrays:
            np.savez(f"{name}.npz", **arrays)
        with pytest.raises(InputError, match=match):
            state_with("fid", reference=f"{name}.npz")
    with pytest.raises(InputError, match="No such file"):
        state_with("fid", reference="nowhere.npz")


def test_real_images_are_measured_once_per_content(monkeypatch: pytest.MonkeyPatch) -> None:
    first = measured("fid")
    calls: list[int] = []
    call = Inception.__call__
    monkeypatch.setattr(Inception, "__call__", lambda self, x: (calls.append(len(x)), call(self, x))[1])
    assert measured("fid") == first
    assert sum(calls) == 30 + 2  # the generated ones, and the two that try the network
    calls.clear()
    measured("fid", dataset={"size": 40})
    assert sum(calls) == 30 + 2 + 80


@pytest.mark.parametrize("held_out", [True, False])
def test_the_floor_is_the_rule_of_halves_of_all_real_images(held_out: bool) -> None:
    state = state_with("fid")
    f = [real(state), real(state, state.held_out)] if held_out else [real(state)]
    if not held_out:
        state.held_out = None
    quarter = [torch.cat([x[shuffled(0, "evaluate/quarters", 0, 48, 48) % 4 == i] for x in f]) for i in range(4)]
    halves = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    n = 24 * len(f)
    rule = [
        frechet_distance(*(moments(torch.cat([quarter[i] for i in side])) for side in pair)) / (2 / n)
        for pair in halves
    ]
    found = measure(state)
    assert found["fd_floor"] == pytest.approx(fmean(rule) * (1 / 30 + 1 / 48), rel=1e-6)
    assert found["fd_floor_sd"] == pytest.approx(stdev(rule) * (1 / 30 + 1 / 48), rel=1e-5)
    told = f"c (1/n + 1/48), c by 3 splits of {2 * n} real images into halves"
    assert state.components["evaluate.0"].protocol["floor"] == told


def test_the_size_of_the_parts_changes_no_quarter(tmp_path: Path) -> None:
    state = state_with("fid")
    features = state.components["evaluate.0"].features
    found = [references.quarters(features, state.dataset, n, state.device, tmp_path / str(n)) for n in (5, 48)]
    torch.testing.assert_close(found[0][0][1].second, found[1][0][1].second)
    assert [part.count for part in found[0][0]] == [part.count for part in found[1][0]]
    assert sum(part.count for part in found[0][0]) == 48 and found[0][1] == found[1][1]


def test_features_without_a_name_for_it_give_fd_and_no_inception_score() -> None:
    classifier = {"use": "digits-classifier", "iterations": 10}
    assert set(measured("fid", features=classifier)) == {"fd", "fd_sd", "fd_floor", "fd_floor_sd"}
    with pytest.raises(UsageError, match="digits-classifier"):
        state_with("inception-score", features=classifier)


def test_precision_and_recall_are_of_all_images_at_once() -> None:
    state = state_with("precision-recall")
    found = measure(state)
    asked = state.components["evaluate.0"]._labels
    labels = torch.cat([asked(state.dataset, 0, 30)])
    fake = features_of(state, Drawer.student(state)(30, labels=labels).x)
    assert (found["precision"], found["precision_sd"]) == compared(real(state), fake)["precision"]
    assert (found["recall"], found["recall_sd"]) == compared(real(state), fake)["recall"]


def test_ceilings_are_of_real_images_against_others() -> None:
    state = state_with("precision-recall")
    found = measure(state)
    train = real(state)[shuffled(0, "evaluate/real", 0, 48, 48)]
    pool = torch.cat([train, real(state, state.held_out)])[shuffled(0, "evaluate/ceiling", 0, 96, 96)]
    expected = compared(pool[30:78], pool[:30])
    assert (found["precision_ceiling"], found["precision_ceiling_sd"]) == expected["precision"]
    assert found["recall_ceiling"] == expected["recall"][0]
    assert state.components["evaluate.0"].protocol["ceiling"] == "30 real images against 48 others"


def test_a_limit_on_real_images_is_kept_and_told() -> None:
    state = state_with("precision-recall", max_real=20, floor=False)
    assert set(measure(state)) == {"precision", "precision_sd", "recall", "recall_sd"}
    told = state.components["evaluate.0"].protocol["reference"]
    assert told == f"20 of 48 training images, sha256 of all {references.digest(state.dataset, 9)}"


def test_the_score_of_the_metric_is_that_of_its_probabilities() -> None:
    state = state_with("inception-score", splits=3, labels="random")
    found, features = measure(state), state.components["evaluate.0"].features
    p = features.probabilities(quantised(Drawer.student(state)(30, labels="random").x))
    expected = inception_score(p, 3)
    assert (found["inception_score"], found["inception_score_sd"]) == pytest.approx(expected, rel=1e-6)
    assert found["inception_score_ceiling"] >= 1


def test_images_that_are_not_finite_are_refused() -> None:
    state = state_with("fid")

    def draw(n: int, seed: int, labels: object, first: int) -> Images:
        x = torch.zeros(n, 3, 8, 8)
        x[2, 0, 1, 1] = torch.nan
        return Images(x, None)

    with pytest.raises(Diverged, match="1 of 7 generated images"):
        state.evaluators[0].call(state=state, draw=draw)
