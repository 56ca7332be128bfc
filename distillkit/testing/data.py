"""Contracts of what images come from and of what measures them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import pytest
import torch

from distillkit.api import Dataset, Evaluate
from distillkit.api.deprecated import deprecated
from distillkit.disk.results import SUFFIXES, table
from distillkit.evaluate import serve
from distillkit.evaluate.draw import Drawer
from distillkit.testing import toys
from distillkit.testing.component import ComponentContract
from distillkit.testing.ranks import simulated
from distillkit.train.ranks.group import Group
from distillkit.train.state import State

SENTENCE = 160  # characters of what a metric means, which stand beside its number


class DatasetContract(ComponentContract):
    """Images in [-1,1] by index, labels that go with them, and images held out."""

    kind = "dataset"

    @pytest.fixture
    def dataset(self) -> Dataset:
        dataset: Dataset = self.choice.build()
        dataset.open(Path.cwd())
        return dataset

    def test_images_are_float32_of_its_shape_and_within_the_range(self, dataset: Dataset) -> None:
        index = torch.arange(len(dataset))[:256]
        x = dataset.images(index)
        assert dataset.shape == (dataset.channels, dataset.resolution, dataset.resolution)
        assert x.shape == (len(index), *dataset.shape)
        assert x.dtype == torch.float32
        if dataset.shape[1:] != (1, 1) and not dataset.latent:  # points of the plane and latents have no range
            assert -1 <= x.min() and x.max() <= 1, f"images span {float(x.min()):g} ... {float(x.max()):g}"

    def test_an_image_is_a_function_of_its_index(self, dataset: Dataset) -> None:
        index = torch.tensor([len(dataset) - 1, 0, 0, len(dataset) // 2])
        x = dataset.images(index)
        assert torch.equal(x[1], x[2])
        for row, i in zip(x, index, strict=True):
            assert torch.equal(dataset.images(i[None])[0], row)

    def test_labels_are_one_hot_or_none_at_all(self, dataset: Dataset) -> None:
        index = torch.arange(len(dataset))[:256]
        labels = dataset.labels(index)
        if not dataset.label_dim:
            assert labels is None
            return
        assert labels is not None
        assert labels.shape == (len(index), dataset.label_dim)
        assert labels.dtype == torch.float32
        assert torch.equal(labels.sum(1), torch.ones(len(index)))
        assert torch.equal(labels, labels.square())

    def test_classes_are_those_of_the_labels(self, dataset: Dataset) -> None:
        index = torch.arange(len(dataset))[:256]
        labels, classes = dataset.labels(index), dataset.classes(index)
        if labels is not None:
            assert classes is not None and torch.equal(classes, labels.argmax(1))
            assert len(dataset.class_names) in (0, dataset.label_dim)

    def test_held_out_images_are_no_training_images(self, dataset: Dataset) -> None:
        held_out = dataset.held_out()
        if held_out is None:
            return
        assert (held_out.shape, held_out.label_dim) == (dataset.shape, dataset.label_dim)
        seen, unseen = (
            {row.numpy().tobytes() for row in part.images(torch.arange(len(part)))} for part in (dataset, held_out)
        )
        assert len(unseen) and not seen & unseen, f"{len(seen & unseen)} held-out images are training images too"

    def test_opening_it_twice_changes_nothing(self, dataset: Dataset) -> None:
        index = torch.arange(len(dataset))[:64]
        before = dataset.images(index).clone()
        dataset.open(Path.cwd())
        assert torch.equal(dataset.images(index), before)

    def test_what_a_caller_does_to_its_images_stays_with_the_caller(self, dataset: Dataset) -> None:
        index = torch.arange(min(4, len(dataset)))
        before = dataset.images(index).clone()
        dataset.images(index).zero_()
        assert torch.equal(dataset.images(index), before)


class EvaluateContract(ComponentContract):
    """Metrics as a flat dict of floats that repeats."""

    kind = "evaluate"

    @pytest.fixture
    def metrics(self) -> dict[str, float]:
        return self._measure()

    def _measure(self) -> dict[str, float]:
        return self._measured(self.state())

    def _measured(self, state: State) -> dict[str, float]:
        found: list[dict[str, float]] = state.evaluators[0].call(state=state, draw=Drawer.student(state))
        assert len(found) == 1
        return found[0]

    def test_it_gives_finite_numbers_by_name(self, metrics: dict[str, float]) -> None:
        assert metrics, "no metrics"
        for name, value in metrics.items():
            assert type(name) is str and name and "/" not in name
            assert type(value) in (float, int) and math.isfinite(value), f"{name} = {value!r}"

    def test_it_repeats_exactly(self, metrics: dict[str, float]) -> None:
        assert self._measure() == metrics

    def test_several_processes_measure_the_numbers_of_one(self) -> None:
        double: toys.Tables = {"run": {"precision": "fp64"}}  # a share is another batch, with other roundings

        def rank(ranks: Group) -> dict[str, float]:
            state = self.state(ranks, **double)
            if not ranks.first:
                ranks.listen(serve.words(state))
                return {}
            with ranks.leading():
                return self._measured(state)

        alone = self._measured(self.state(None, **double))
        assert simulated(2, rank)[0] == pytest.approx(alone, rel=1e-4, abs=1e-6, nan_ok=True)

    def test_floors_and_spreads_belong_to_a_metric(self, metrics: dict[str, float]) -> None:
        for name in metrics:
            for suffix in SUFFIXES:
                assert not name.endswith(suffix) or name.removesuffix(suffix) in metrics, f"{name}: of which metric?"

    def test_every_metric_says_which_way_is_better(self, metrics: dict[str, float]) -> None:
        cls = self.choice.cls
        assert set(cls.better.values()) <= {"lower", "higher", "none"}, f"better = {cls.better}"
        named = [row.name for row in table(metrics)]
        if not cls.better:
            deprecated(f"{cls.__name__} without a direction of its metrics", f'better = {{"{named[0]}": "lower"}}')
            return
        silent = [name for name in named if cls.direction(name) is None]
        assert not silent, f'{cls.__name__}.better has to say "lower", "higher" or "none" of {", ".join(silent)}'

    def test_what_metrics_mean_is_told_of_all_or_none(self, metrics: dict[str, float]) -> None:
        cls = self.choice.cls
        for name, text in cls.means.items():
            assert type(text) is str and 0 < len(text) <= SENTENCE, f"means[{name!r}] is no sentence of {SENTENCE}"
        silent = [row.name for row in table(metrics) if cls.means and cls.meaning(row.name) is None]
        assert not silent, f"{cls.__name__}.means has to say what {', '.join(silent)} means"

    def test_every_metric_is_one_of_those_that_it_tells(self, metrics: dict[str, float]) -> None:
        state = self.state()
        told = cast(Evaluate, state.components["evaluate.0"]).measures(state)
        surplus = [row.name for row in table(metrics) if told is not None and row.name not in told]
        assert not surplus, f"`measures` does not tell {', '.join(surplus)}"

    def test_its_protocol_is_text(self) -> None:
        state = self.state()
        state.evaluators[0].call(state=state, draw=Drawer.student(state))
        protocol = cast(Evaluate, state.components["evaluate.0"]).protocol
        assert all(type(key) is str and type(value) is str for key, value in protocol.items())
