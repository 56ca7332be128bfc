"""The small classifier: accuracy, exact repeat, cache, and leaving random state alone."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from distillkit_metrics import classifier, store
from distillkit_metrics.classifier import DigitsClassifier, train
from distillkit_metrics.statistics import frechet_distance, moments
from torch import Tensor

from distillkit.api import Dataset, UsageError


def prepared(dataset: Dataset, cache: Path, **keys: int) -> DigitsClassifier:
    features = DigitsClassifier(DigitsClassifier.Config(**({"iterations": 10} | keys)))
    features.prepare(dataset, None, cache)
    return features


def weights(features: DigitsClassifier) -> dict[str, Tensor]:
    return features.net.state_dict()


def same(a: DigitsClassifier, b: DigitsClassifier) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a).values(), weights(b).values(), strict=True))


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(*args: object) -> None:
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr(classifier, "train", refuse)


def test_it_reads_digits_it_has_never_seen(digits: SimpleNamespace) -> None:
    held_out = digits.state.held_out
    index = torch.arange(len(held_out))
    found = digits.features(held_out.images(index))
    assert {name: tuple(f.shape) for name, f in found.items()} == {
        "penultimate": (359, 32), "spatial": (359, 256), "logits": (359, 10),
    }  # fmt: skip
    assert (found["logits"].argmax(1) == held_out.classes(index)).float().mean() >= 0.985


def test_everybody_has_the_same_classifier_of_the_digits_with_and_without_labels(
    digits: SimpleNamespace, tmp_path: Path, no_training: Callable[[], None]
) -> None:
    module = pytest.importorskip("distillkit_datasets.digits")
    no_training()
    for conditional in (True, False):
        dataset = module.Digits(module.Digits.Config(conditional=conditional))
        dataset.open(Path())
        features = prepared(dataset, tmp_path, iterations=600)
        assert features.digest == "ae88621eb9d44a61a56925aceb2c289433808d98145ef45de7e8ff97afafb8c0"
    assert not list(tmp_path.iterdir())


def test_a_classifier_trained_here_is_as_good_as_the_shipped_one(
    digits: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "SHIPPED", tmp_path)
    held_out = digits.state.held_out
    fresh = prepared(digits.state.dataset, tmp_path, iterations=600)
    found = fresh(held_out.images(torch.arange(len(held_out))))["logits"].argmax(1)
    assert (found == held_out.classes(torch.arange(len(held_out)))).float().mean() >= 0.985
    shipped_fd, fresh_fd = (noisy_distance(features, held_out) for features in (digits.features, fresh))
    assert fresh_fd == pytest.approx(shipped_fd, rel=0.3) and shipped_fd > 10


def noisy_distance(features: DigitsClassifier, dataset: Dataset) -> float:
    """Frechet distance of the images with much noise to the images."""
    x = dataset.images(torch.arange(len(dataset)))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return frechet_distance(*(moments(features(image)["penultimate"]) for image in (x, x + noise)))


def test_the_digest_is_that_of_the_weights(toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again, other = prepared(toy, tmp_path / "a"), prepared(toy, tmp_path / "b"), prepared(toy, tmp_path, seed=1)
    assert first.digest == again.digest == store.digest(weights(first)) != other.digest
    monkeypatch.setattr(classifier, "train", train_on_another_machine)
    elsewhere = prepared(toy, tmp_path / "c")
    assert not same(elsewhere, first) and elsewhere.digest != first.digest


def train_on_another_machine(*args: object) -> classifier.Classifier:
    """The same settings, another last bit."""
    net = train(*args)
    with torch.no_grad():
        net.logits.bias[0] = net.logits.bias[0].nextafter(torch.tensor(1.0))
    return net


def test_training_uses_one_thread_and_gives_them_back(toy: Dataset, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = prepared(toy, tmp_path / "a")
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert prepared(toy, tmp_path / "b").digest == two.digest
    finally:
        torch.set_num_threads(threads)


def test_a_cache_that_cannot_be_written_costs_the_time_and_nothing_else(toy: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot be written .*DISTILLKIT_HOME"):
        found = prepared(toy, tmp_path / "file" / "cache")
    assert same(found, prepared(toy, tmp_path / "b"))


def test_training_repeats_bit_for_bit(toy: Dataset, tmp_path: Path) -> None:
    assert same(prepared(toy, tmp_path / "a"), prepared(toy, tmp_path / "b"))
    assert not same(prepared(toy, tmp_path), prepared(toy, tmp_path, seed=1))


def test_a_second_prepare_takes_the_cache(
    toy: Dataset, tmp_path: Path, no_training: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "distillkit")
    first = prepared(toy, tmp_path)
    no_training()
    assert same(prepared(toy, tmp_path), first)
    assert [text.split(" of ")[0] for text in caplog.messages] == ["training the classifier"]  # told once


def test_other_images_or_settings_are_other_cache_entries(toy: Dataset, tmp_path: Path) -> None:
    prepared(toy, tmp_path)
    prepared(toy, tmp_path, iterations=11)
    toy._x = toy._x.flip(3)
    prepared(toy, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3 == len(list(tmp_path.glob("*.json")))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("how", ["flipped byte", "truncated", "no record", "record not JSON", "record without hash"])
def test_damaged_cache_is_trained_again_with_a_warning(how: str, toy: Dataset, tmp_path: Path) -> None:
    first = prepared(toy, tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    record, raw = path.with_suffix(".json"), bytearray(path.read_bytes())
    if how == "flipped byte":
        raw[-1] ^= 1
        path.write_bytes(raw)
    elif how == "truncated":
        path.write_bytes(raw[:100])
    elif how == "no record":
        record.unlink()
    else:
        record.write_text("{" if how == "record not JSON" else json.dumps({}))
    with pytest.warns(UserWarning, match="damaged"):
        assert same(prepared(toy, tmp_path), first)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(prepared(toy, tmp_path), first)  # repaired


def test_random_state_is_untouched_and_does_not_matter(toy: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = prepared(toy, tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with torch.inference_mode():
        assert same(prepared(toy, tmp_path / "b"), first)


def test_features_are_in_eval_mode_without_gradients(toy: Dataset, tmp_path: Path) -> None:
    features = prepared(toy, tmp_path)
    x = toy.images(torch.arange(6)).requires_grad_()
    both, alone = features(x), features(x[:1])
    assert not both["penultimate"].requires_grad
    torch.testing.assert_close(both["logits"][:1], alone["logits"])  # no batch statistics


def test_a_data_set_without_classes_is_refused_with_features_that_need_none(
    unlabelled_toy: Dataset, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match=r'has none: .* "inception" or "torchscript"'):
            prepared(unlabelled_toy, tmp_path)
        unlabelled_toy.classes = lambda index: None  # as image sets without labels have it
