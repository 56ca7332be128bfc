"""Two plugins as the documents of 0.1.0 had them written: they know of labels one-hot rows [N,L], and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from distillkit import testing
from distillkit.api import Dataset, GeneratorLoss, Layout, Network, Optimizer, field, frozen, gt, hookimpl
from distillkit.evaluate.draw import Drawer
from distillkit.recipe import read
from distillkit.registry import Offer
from distillkit.testing import toys
from distillkit.testing.training import run
from distillkit.train.build import build
from distillkit.train.state import State


class OldImages(Dataset):
    """One plugin: stripes of three classes, and a network for them."""

    @frozen(kw_only=True)
    class Config:
        size: int = field(default=30, validator=gt(0))

    resolution, channels, shape = 4, 1, (1, 4, 4)
    label_dim = 3
    class_names = ("flat", "rows", "columns")

    def open(self, root: Path) -> None:
        stripe = torch.tensor([-0.5, 0.5]).repeat(2).expand(4, 4)
        self.patterns = torch.stack([torch.zeros(4, 4), stripe.T, stripe])[:, None]

    def __len__(self) -> int:
        return int(self.config.size)

    def images(self, index: Tensor) -> Tensor:
        return self.patterns[index % 3] + 0.01 * index.view(-1, 1, 1, 1)

    def labels(self, index: Tensor) -> Tensor:
        return torch.eye(3)[index % 3]


class OldNetwork(Network):
    """Its network, which reads labels by itself."""

    @frozen(kw_only=True)
    class Config:
        width: int = field(default=8, validator=gt(0))

    def module(self, resolution: int, channels: int, label_dim: int) -> nn.Module:
        return OldModule(resolution, channels, label_dim, self.config.width)


class OldModule(nn.Module):
    augment_dim, sigma_min, sigma_max, sigma_data = 0, 0.0, float("inf"), 0.5
    compute_dtype = None

    def __init__(self, resolution: int, channels: int, label_dim: int, width: int) -> None:
        super().__init__()
        self.resolution, self.channels, self.label_dim = resolution, channels, label_dim
        size = channels * resolution**2
        self.inner, self.outer = nn.Linear(size + label_dim, width), nn.Linear(width, size)

    def forward(
        self, x: Tensor, sigma: Any, labels: Tensor | None = None, augment_labels: Tensor | None = None
    ) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1, 1)
        labels = x.new_zeros(len(x), self.label_dim) if labels is None else labels.to(x.dtype)
        c_skip = self.sigma_data**2 / (sigma**2 + self.sigma_data**2)
        h = torch.cat([(x * c_skip.sqrt()).flatten(1), labels], dim=1)
        return c_skip * x + (1 - c_skip) * self.outer(self.inner(h).relu()).view_as(x)


class OldLoss(GeneratorLoss):
    """The other plugin: a method that asks for the hosts' labels, and names its critic as it was named."""

    @hookimpl
    def setup(self, state: State) -> None:
        self.fake = state.add_critic("fake", init="generator", optimizer=Optimizer(lr=1e-3))

    @hookimpl
    def critic_loss(self, step: Any) -> Tensor:
        assert step.host_labels.shape == (step.n, 3) and bool((step.host_labels.sum(1) == 1).all())
        sigma = step.lognormal_sigma(-1.2, 1.2)
        return (
            (self.fake(step.x + sigma * step.randn_like(step.x), sigma, step.labels) - step.x)
            .square()
            .flatten(1)
            .sum(1)
        )

    @hookimpl
    def generator_loss(self, state: State, step: Any, teacher_score: Callable[..., Tensor]) -> Tensor:
        sigma = step.lognormal_sigma(-1.2, 1.2)
        x_sigma = step.x + sigma * step.randn_like(step.x)
        with torch.no_grad():
            real = state.hook.teacher_score(state=state, x=x_sigma, sigma=sigma, labels=step.labels)
            unconditional = teacher_score(x_sigma, sigma, None)
            d = self.fake(x_sigma, sigma, step.labels) - real + 0 * unconditional
        return (d * step.x).flatten(1).sum(1)


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A run of both, by a recipe."""
    old = {"dataset": OldImages, "network": OldNetwork, "generator_loss": OldLoss}
    offers = [Offer(kind, "old", f"{__name__}:{cls.__name__}", "old-plugin", "1.0") for kind, cls in old.items()]
    catalog = attrs.evolve(toys.catalog(), offers=(*toys.catalog().offers, *offers))
    tables: toys.Tables = {
        "dataset": {"use": "old"}, "generator_loss": {"use": "old"},
        "teacher_score": {"network": {"use": "old"}},
    }  # fmt: skip
    path = tmp_path / "old.toml"
    path.write_text(toys.toml(toys.merged(toys.DEFAULTS, {"run": {"device": "cpu"}}, tables)))
    with pytest.warns(DeprecationWarning, match="add_critic"):
        return build(read(path, catalog=catalog), catalog)


def test_they_run_and_are_told_the_new_forms(state: State) -> None:
    with pytest.warns(DeprecationWarning, match="write step.labels_cpu"):
        assert not run(state, 3).skipped
    assert state.layout == Layout(classes=3) and state.dataset.prompts is None


def test_their_pictures_are_of_classes_in_turns(state: State) -> None:
    drawn = Drawer.student(state)(7)
    assert torch.equal(drawn.labels, torch.eye(3)[[0, 1, 2, 0, 1, 2, 0]])
    assert testing.toy_step(state).labels.shape == (8, 3)
