"""Data and feature networks that the metric tests share; the digits by the classifier that ships."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from distillkit_metrics.classifier import DigitsClassifier
from torch import Tensor, nn
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
        return len(self._x)

    def images(self, index: Tensor) -> Tensor:
        return self._x[index]

    def labels(self, index: Tensor) -> Tensor | None:
        return one_hot(self._classes[index], 2).float() if self.label_dim else None


class TinyInception(nn.Module):
    """Called like the published Inception file: bytes -> `width` features, or probabilities of as many classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2)

    def forward(self, x: Tensor, return_features: bool = False, no_output_bias: bool = False) -> Tensor:
        assert x.dtype == torch.uint8
        features = self.conv(x.float() / 255).relu().mean((2, 3))
        return features if return_features else (features if no_output_bias else features + 1).softmax(1)


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`inception(width)` writes a TorchScript file of random weights; the test runs in its folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path / "home"))

    def write(width: int = 4, net: Callable[[int], nn.Module] = TinyInception) -> Path:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.manual_seed(0)
            torch.jit.save(torch.jit.script(net(width)), tmp_path / "inception.pt")
        return tmp_path / "inception.pt"

    return write


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
    vars(state).update(nimg=1, total=2, figures=None, device=torch.device("cpu"))  # in the middle of a run
    features = DigitsClassifier(DigitsClassifier.Config())
    features.prepare(state.dataset, state.held_out, state.cache)
    return SimpleNamespace(state=state, features=features)
