"""Generators that copy training images or repeat themselves are named, by three signs; others are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from distillkit_metrics import memorised, pairs, suspicion
from distillkit_metrics.frechet import Frechet
from distillkit_metrics.memorised import Memory, nearest
from PIL import Image
from torch import Tensor

from distillkit.api import Dataset, Features, Images


class Held:
    """A feature network that is ready."""

    name = "digits-classifier"

    def __init__(self, features: Features) -> None:
        self.features = features

    def build(self) -> Features:
        return self.features


def cloud(n: int, seed: int, d: int = 4) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawing(dataset: Dataset, change: Callable[[Tensor, torch.Generator], Tensor], again: bool = True) -> Any:
    """A draw of training images of the labels asked for, with `change` to each; `again`: any may come twice."""
    classes = dataset.classes(torch.arange(len(dataset)))

    def draw(n: int, seed: int = 0, labels: Tensor | None = None) -> Images:
        generator = torch.Generator().manual_seed(seed)
        index = torch.empty(n, dtype=torch.int64)
        for c in range(labels.shape[1]):
            asked, members = labels.argmax(1) == c, (classes == c).nonzero()[:, 0]
            count = int(asked.sum())
            order = torch.randperm(len(members), generator=generator)[:count]
            picks = torch.randint(len(members), (count,), generator=generator) if again else order
            index[asked] = members[picks]
        return Images(change(dataset.images(index), generator), labels)

    return draw


@pytest.fixture(scope="module")
def metric(digits: SimpleNamespace) -> Frechet:
    return Frechet(Frechet.Config(features=Held(digits.features)))


@pytest.mark.parametrize("again", [False, True], ids=["each once", "with repeats"])
def test_a_generator_that_draws_training_images_is_named_by_three_signs(
    again: bool, metric: Frechet, digits: SimpleNamespace, tmp_path: Path
) -> None:
    state = SimpleNamespace(**{**vars(digits.state), "nimg": 2, "figures": tmp_path / "figures"})
    found = metric.evaluate(state, drawing(state.dataset, lambda x, _: x, again))
    assert found["sfd"] < found["sfd_floor"] - 2 * found["sfd_floor_sd"]
    assert again or found["fd"] < found["fd_floor"] - 2 * found["fd_floor_sd"]
    assert found["near_train"] == 1
    said = " | ".join(metric.remarks(found))
    assert "sfd" in said and "look like copies" in said and "(sfd_test)" in said
    assert "near_train: 100 % of images are nearer to a training image" in said
    assert ("duplicates" in said) == again
    picture = Image.open(tmp_path / "figures" / "nearest.png")
    assert picture.width > 6 * pairs.CELL
    top, below = (picture.crop((4, 32 + y, 4 + pairs.CELL, 32 + y + pairs.CELL)) for y in (0, pairs.CELL + pairs.GAP))
    assert top.tobytes() == below.tobytes(), "a copy stands above its original"


def test_blurred_training_images_are_not_named(metric: Frechet, digits: SimpleNamespace) -> None:
    def blurred(x: Tensor, generator: torch.Generator) -> Tensor:
        return (x + 0.4 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)

    found = metric.evaluate(digits.state, drawing(digits.state.dataset, blurred))
    assert found["near_train"] < 0.1 and metric.remarks(found) == []


def test_unseen_real_images_are_not_named(metric: Frechet, digits: SimpleNamespace) -> None:
    held_out = digits.state.held_out
    few = Frechet(Frechet.Config(features=Held(digits.features), images=200))
    found = few.evaluate(digits.state, drawing(held_out, lambda x, _: x, again=False))
    assert not [line for line in few.remarks(found) if "near_train" in line or "copies" in line]
    assert found["near_train"] == pytest.approx(0.05, abs=0.04)


def test_a_generator_of_few_images_is_named_by_its_duplicates(metric: Frechet, digits: SimpleNamespace) -> None:
    dataset = digits.state.dataset

    def few(n: int, seed: int = 0, labels: Tensor | None = None) -> Images:
        x = torch.stack(
            [dataset.images((dataset.classes(torch.arange(1438)) == c).nonzero()[:9, 0]) for c in range(10)]
        )
        noise = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        return Images((x + noise)[labels.argmax(1), torch.arange(n) % 9], labels)

    found = metric.evaluate(digits.state, few)
    assert found["duplicates"] == 1 and [line for line in metric.remarks(found) if line.startswith("duplicates: 100 %")]


def test_the_nearest_neighbour_is_not_the_image_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cloud(30, 0)
    expected = torch.cdist(x, x).fill_diagonal_(torch.inf).min(1)
    monkeypatch.setattr(memorised, "ROWS", 7)
    distance, index = nearest(x, x, same=True)
    torch.testing.assert_close(distance, expected.values)
    assert torch.equal(index, expected.indices)


def test_five_in_a_hundred_unseen_images_count_as_near_and_one_in_a_hundred_as_a_double() -> None:
    groups = torch.zeros(2000, dtype=torch.int64)
    memory = Memory(cloud(2000, 0), groups, cloud(1000, 1))
    found = memory.compare(cloud(2000, 2), groups)
    assert found["near_train"][0] == pytest.approx(0.05, abs=0.02)
    assert found["duplicates"][0] == pytest.approx(0.01, abs=0.008)
    copies = memory.compare(memory.train[:500], groups[:500])
    assert copies["near_train"] == (1.0, 0.0) and copies["duplicates"][0] < 0.03


def test_errors_of_copies_are_as_large_as_their_spread() -> None:
    groups = torch.zeros(1000, dtype=torch.int64)
    memory = Memory(cloud(1000, 0), groups, cloud(1000, 1))
    runs = [memory.compare(cloud(1000, 3 + s), groups) for s in range(40)]
    for name in ("near_train", "duplicates"):
        values, errors = torch.tensor([run[name] for run in runs]).T
        assert 0.6 < errors.mean() / values.std() < 1.7


def test_a_distance_at_its_floor_is_no_sign() -> None:
    at_floor = {
        "fd": 0.9,
        "fd_floor": 1.0,
        "fd_floor_sd": 0.1,
        "fd_test": 5.0,
        "fd_test_floor": 2.0,
        "fd_test_floor_sd": 0.1,
    }
    assert suspicion.of(at_floor) == []
    below = suspicion.of(at_floor | {"fd": 0.7})
    assert below[0].startswith("fd 0.7 lies below 1 +- 0.1") and "-0.3 for the training images but +3" in below[1]
    assert len(suspicion.of(at_floor | {"fd": 0.7, "fd_test": 1.7})) == 1


def test_points_make_no_picture(tmp_path: Path) -> None:
    pairs.write(tmp_path / "x.png", torch.zeros(6, 2, 1, 1), torch.zeros(6, 2, 1, 1), torch.zeros(6), 0.1)
    assert not (tmp_path / "x.png").exists()
