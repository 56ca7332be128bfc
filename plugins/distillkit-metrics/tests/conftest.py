"""Data and feature networks that the metric tests share; the real classifier is trained once per test session."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_metrics.classifier import DigitsClassifier
from torch import Tensor
from torch.nn.functional import one_hot

from distillkit.api import Dataset


class Toy(Dataset):
    """Forty 2x6x6 images of two classes that differ in brightness."""

    resolution, channels, shape = 6, 2, (2, 6, 6)

    def __init__(self, label_dim: int = 2) -> None:
        self.label_dim = label_dim
        noise = torch.randn(40, 2, 6, 6, generator=torch.Generator().manual_seed(0))
        self._classes = torch.arange(40) % 2
        self._x = (0.2 * noise + self._classes.view(-1, 1, 1, 1) - 0.5).clamp(-1, 1)

    def __len__(self) -> int:
        return 40

    def images(self, index: Tensor) -> Tensor:
        return self._x[index]

    def labels(self, index: Tensor) -> Tensor | None:
        return one_hot(self._classes[index], 2).float() if self.label_dim else None


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def unlabelled_toy() -> Toy:
    return Toy(label_dim=0)


@pytest.fixture(scope="session")
def reference() -> dict[str, np.ndarray]:
    """Numbers computed by EDM's, StyleGAN's and SiD's own code on random features."""
    with np.load(Path(__file__).parent / "data" / "metrics_io.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The digits as a run's state, and their trained classifier."""
    module = pytest.importorskip("distillkit_datasets.digits")
    dataset = module.Digits(module.Digits.Config())
    dataset.open(Path())
    state = SimpleNamespace(dataset=dataset, held_out=dataset.held_out(), cache=tmp_path_factory.mktemp("cache"))
    features = DigitsClassifier(DigitsClassifier.Config())
    features.prepare(state.dataset, state.held_out, state.cache)
    return SimpleNamespace(state=state, features=features)
