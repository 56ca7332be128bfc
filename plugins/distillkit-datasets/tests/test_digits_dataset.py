"""The digits: range, shapes, and a split that is stratified, disjoint and the same everywhere."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distillkit_datasets import digits as digits_module
from distillkit_datasets.digits import Digits, quotas, split
from distillkit_datasets.digits import everything as every
from hypothesis import given, settings
from hypothesis import strategies as st


def opened(**keys: object) -> Digits:
    dataset = Digits(Digits.Config(**keys))
    dataset.open(Path())
    return dataset


@pytest.fixture(scope="module")
def digits() -> Digits:
    return opened()


def everything(dataset: Digits) -> torch.Tensor:
    return torch.arange(len(dataset))


def test_images_have_the_promised_shape_range_and_gray_levels(digits: Digits) -> None:
    x = digits.images(everything(digits))
    assert x.shape == (1438, 1, 8, 8) and x.dtype == torch.float32
    assert torch.equal(x.unique(), torch.arange(17) / 8 - 1)
    assert x.mean().item() == pytest.approx(-0.39, abs=0.01)


def test_labels_are_one_hot_of_the_classes(digits: Digits) -> None:
    index = torch.tensor([3, 0, 700, 3])
    labels = digits.labels(index)
    assert labels.shape == (4, digits.label_dim) and labels.dtype == torch.float32
    assert torch.equal(labels.argmax(1), digits.classes(index)) and torch.equal(labels.sum(1), torch.ones(4))


def test_train_and_held_out_together_are_all_images_and_do_not_overlap(digits: Digits) -> None:
    from sklearn.datasets import load_digits

    classes = load_digits().target.tolist()
    train, test = split(classes, 359, 0)
    assert sorted(train + test) == list(range(1797))
    held_out = digits.held_out()
    assert len(held_out) == 359 and held_out.held_out() is None
    assert torch.equal(held_out.classes(everything(held_out)), torch.tensor(classes)[test])
    pixels = torch.cat([digits.images(everything(digits)), held_out.images(everything(held_out))])
    assert len(pixels.flatten(1).unique(dim=0)) == 1797  # so an overlap would show as a duplicate


def test_each_class_is_held_out_in_proportion(digits: Digits) -> None:
    held_out = digits.held_out()
    test = held_out.classes(everything(held_out)).bincount()
    train = digits.classes(everything(digits)).bincount()
    assert ((test + train) * 359 / 1797 - test).abs().max() < 1


def test_they_are_those_of_scikit_learn_and_do_not_need_it_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys; from distillkit_datasets.digits import everything; everything(); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
    x, classes = every.__wrapped__()
    for file in ("sklearn/nowhere.csv.gz", "sklearn/__init__.py"):
        monkeypatch.setattr(digits_module, "FILE", file)
        assert digits_module.of_file() is None
        by_scikit, same = every.__wrapped__()
        assert torch.equal(x, by_scikit) and torch.equal(classes, same)
    assert (x.dtype, x.shape, classes.dtype) == (torch.float32, (1797, 1, 8, 8), torch.int64)


def test_the_split_never_changes() -> None:
    from sklearn.datasets import load_digits

    _, test = split(load_digits().target.tolist(), 359, 0)
    digest = hashlib.sha256(",".join(map(str, test)).encode()).hexdigest()
    assert digest == "71a6849f3e659e317e4f7ffbb5ec9d5fdb85a0b890e0824edf9e863ab8e21308"


def test_another_seed_holds_out_other_images() -> None:
    classes = [0] * 50 + [1] * 50
    assert split(classes, 20, 0) == split(classes, 20, 0)
    assert split(classes, 20, 0) != split(classes, 20, 1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.floats(0, 1))
def test_quotas_add_up_and_stay_within_one_of_proportional(counts: list[int], fraction: float) -> None:
    total = int(fraction * sum(counts))
    quota = quotas(counts, total)
    assert sum(quota) == total
    assert all(abs(q - c * total / sum(counts)) < 1 for q, c in zip(quota, counts, strict=True))


def test_largest_remainder_by_hand() -> None:
    assert quotas([5, 3, 2], 4) == [2, 1, 1]  # 2.0, 1.2, 0.8
    assert quotas([1, 1, 1], 1) == [1, 0, 0]


def test_unconditional_digits_have_no_labels_but_still_know_their_classes() -> None:
    digits = opened(conditional=False)
    assert digits.label_dim == 0 and digits.labels(torch.arange(3)) is None
    assert digits.held_out().labels(torch.arange(3)) is None
    assert digits.classes(everything(digits)).bincount().numel() == 10


def test_nothing_held_out_leaves_all_images_for_training() -> None:
    digits = opened(held_out=0)
    assert len(digits) == 1797 and digits.held_out() is None


@pytest.mark.parametrize("held_out", [-1, 1797])
def test_an_impossible_held_out_count_is_refused(held_out: int) -> None:
    with pytest.raises(ValueError, match="held_out"):
        Digits.Config(held_out=held_out)
