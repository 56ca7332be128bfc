"""Metrics with published protocols: the reference's numbers, images in parts, references, floors and facts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distillkit_metrics import reference as references
from distillkit_metrics.frechet import quantised
from distillkit_metrics.inception_score import inception_score
from distillkit_metrics.manifold import precision_recall
from distillkit_metrics.statistics import Sums, frechet_distance, moments
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


def test_the_fid_is_the_distance_of_all_images_at_once_and_its_floor_that_of_the_held_out() -> None:
    state = state_with("fid")
    fake = moments(features_of(state, Drawer.student(state)(30, labels="random").x))
    train, test = moments(real(state)), moments(real(state, state.held_out))
    expected = {"fd": frechet_distance(fake, train), "fd_floor": frechet_distance(test, train)}
    assert measure(state) == pytest.approx(expected, rel=1e-6)


def test_the_fid_does_not_depend_on_the_size_of_the_parts() -> None:
    assert measured("fid", batch=7) == pytest.approx(measured("fid", batch=30), rel=1e-6)


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


def test_without_held_out_images_the_floor_is_half_against_half() -> None:
    state = state_with("fid")
    state.held_out = None
    f = real(state)
    assert measure(state)["fd_floor"] == pytest.approx(frechet_distance(moments(f[::2]), moments(f[1::2])), rel=1e-6)
    assert state.components["evaluate.0"].protocol["floor"] == "24 training images against the other 24"


def test_an_odd_size_of_parts_gives_the_same_halves(tmp_path: Path) -> None:
    state = state_with("fid")
    features = state.components["evaluate.0"].features
    found = [references.halves(features, state.dataset, n, state.device, tmp_path / str(n)) for n in (5, 48)]
    torch.testing.assert_close(found[0][1].second, found[1][1].second)
    assert found[0][0].count == 24 and found[0][2] == found[1][2]


def test_facts_name_protocol_images_seeds_and_hashes(file: Path) -> None:
    state = state_with("fid", seed=2)
    measure(state)
    facts = state.components["evaluate.0"].protocol
    assert list(facts) == ["protocol", "images", "seeds", "features", "labels", "reference", "floor"]
    assert facts["protocol"].startswith("EDM") and facts["images"].startswith("30")
    assert facts["seeds"].startswith("100000-100029") and facts["labels"].startswith("uniform")
    assert facts["features"] == f"inception, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert facts["reference"].startswith("48 training images, sha256 ")
    assert facts["floor"] == "48 held-out images against the reference"


def test_other_seeds_are_other_images_and_a_sampler_measures_the_teacher() -> None:
    assert measured("fid", seed=1)["fd"] != measured("fid")["fd"]
    state = state_with("fid", sampler={"use": "heun", "steps": 2})
    assert measure(state)["fd"] != measured("fid")["fd"]
    assert state.components["evaluate.0"].protocol["network"] == "the teacher, by heun"


def test_features_without_a_name_for_it_give_fd_and_no_inception_score() -> None:
    classifier = {"use": "digits-classifier", "iterations": 10}
    assert set(measured("fid", features=classifier)) == {"fd", "fd_floor"}
    with pytest.raises(UsageError, match="digits-classifier"):
        state_with("inception-score", features=classifier)


def test_precision_and_recall_are_of_all_images_at_once() -> None:
    state = state_with("precision-recall")
    found = measure(state)
    asked = state.components["evaluate.0"]._labels
    labels = torch.cat([asked(state.dataset, 0, 30)])
    fake = features_of(state, Drawer.student(state)(30, labels=labels).x)
    assert (found["precision"], found["recall"]) == precision_recall(real(state), fake)
    floors = found["precision_floor"], found["recall_floor"]
    assert floors == precision_recall(real(state), real(state, state.held_out))


def test_a_limit_on_real_images_is_kept_and_told() -> None:
    state = state_with("precision-recall", max_real=20, floor=False)
    assert set(measure(state)) == {"precision", "recall"}
    told = state.components["evaluate.0"].protocol["reference"]
    assert told == f"20 of 48 training images, sha256 of all {references.digest(state.dataset, 9)}"


def test_the_score_of_the_metric_is_that_of_its_probabilities() -> None:
    state = state_with("inception-score", splits=3, labels="random")
    found, features = measure(state), state.components["evaluate.0"].features
    p = features.probabilities(quantised(Drawer.student(state)(30, labels="random").x))
    expected = inception_score(p, 3)
    assert (found["inception_score"], found["inception_score_sd"]) == pytest.approx(expected, rel=1e-6)
    assert found["inception_score_floor"] >= 1


def test_images_that_are_not_finite_are_refused() -> None:
    state = state_with("fid")

    def draw(n: int, seed: int, labels: object, first: int) -> Images:
        x = torch.zeros(n, 3, 8, 8)
        x[2, 0, 1, 1] = torch.nan
        return Images(x, None)

    with pytest.raises(Diverged, match="1 of 7 generated images"):
        state.evaluators[0].call(state=state, draw=draw)
