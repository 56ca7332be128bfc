"""The row "real" of the comparison picture: classes take turns, and one without images never ends a run."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from distillkit.api import Dataset
from distillkit.evaluate import evaluation


class Few(Dataset):
    """Images whose every pixel is their number / 10, with the labels given."""

    resolution, channels, shape = 2, 1, (1, 2, 2)

    def __init__(self, labels: Tensor) -> None:
        self._labels, self.label_dim = labels, labels.shape[1]

    def open(self, root: Path) -> None:
        pass

    def __len__(self) -> int:
        return len(self._labels)

    def images(self, index: Tensor) -> Tensor:
        return (index / 10).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    def labels(self, index: Tensor) -> Tensor:
        return self._labels[index]


class FakeState:
    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset


def shown(labels: Tensor, n: int) -> list[float]:
    return [round(float(x), 1) for x in evaluation.real_images(FakeState(Few(labels)), n)[:, 0, 0, 0]]


def test_classes_take_turns_and_begin_again_where_they_end() -> None:
    assert shown(torch.eye(2)[[0, 0, 1]], 6) == [0.0, 0.2, 0.1, 0.2, 0.0, 0.2]


def test_a_class_without_images_shows_black_cells() -> None:
    assert shown(torch.eye(3)[[1, 2, 1]], 6) == [-1.0, 0.0, 0.1, -1.0, 0.2, 0.1]


def test_labels_with_more_than_one_1_are_shown_too() -> None:
    assert shown(torch.tensor([[1.0, 0, 1], [1, 0, 1]]), 4) == [0.0, -1.0, -1.0, 0.1]


def test_columns_have_the_names_of_classes_where_there_are_some() -> None:
    dataset = Few(torch.eye(3)[[0, 1, 2]])
    assert evaluation.column_names(FakeState(dataset)) == ["0", "1", "2"]
    dataset.class_names = ["ant", "bee", "cat"]
    assert evaluation.column_names(FakeState(dataset)) == ["ant", "bee", "cat"]
