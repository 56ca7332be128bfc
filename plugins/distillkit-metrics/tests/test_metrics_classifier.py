"""The small classifier: accuracy, exact repeat, cache, and leaving random state alone."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from distillkit_metrics import classifier
from distillkit_metrics.classifier import DigitsClassifier
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
def no_training(monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object) -> None:
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr(classifier, "train", refuse)


def test_it_reads_digits_it_has_never_seen(digits) -> None:
    held_out = digits.state.held_out
    index = torch.arange(len(held_out))
    found = digits.features(held_out.images(index))
    assert {name: tuple(f.shape) for name, f in found.items()} == {
        "penultimate": (359, 32), "spatial": (359, 256), "logits": (359, 10),
    }  # fmt: skip
    assert (found["logits"].argmax(1) == held_out.classes(index)).float().mean() >= 0.985


def test_the_digits_classifier_is_found_again_for_unconditional_digits(digits, no_training) -> None:
    module = pytest.importorskip("distillkit_datasets.digits")
    dataset = module.Digits(module.Digits.Config(conditional=False))
    dataset.open(Path())
    no_training()
    assert same(prepared(dataset, digits.state.cache, iterations=600), digits.features)


def test_training_repeats_bit_for_bit(toy: Dataset, tmp_path: Path) -> None:
    assert same(prepared(toy, tmp_path / "a"), prepared(toy, tmp_path / "b"))
    assert not same(prepared(toy, tmp_path), prepared(toy, tmp_path, seed=1))


def test_a_second_prepare_takes_the_cache(toy: Dataset, tmp_path: Path, no_training) -> None:
    first = prepared(toy, tmp_path)
    no_training()
    assert same(prepared(toy, tmp_path), first)


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


def test_a_data_set_without_classes_is_refused(unlabelled_toy: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Toy has none"):
        prepared(unlabelled_toy, tmp_path)
