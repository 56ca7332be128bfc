"""Images for pictures and metrics: numbered seeds as in EDM's published evaluations, any number of them alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from distillkit.evaluate import draw, share
from distillkit.evaluate.draw import Drawer
from distillkit.seeds import seed_noise
from distillkit.testing import toy_state
from distillkit.train.state import State


def test_latents_and_classes_are_those_of_the_reference() -> None:
    known = np.load(Path(__file__).parent / "data" / "edm_seeds_io.npz")
    z, classes = seed_noise(known["seeds"].tolist(), (3, 8, 8), 10)
    assert np.array_equal(z.numpy(), known["latents_3x8x8"])
    assert np.array_equal(classes.numpy(), known["class_idx_of_10"])


def test_latents_without_labels_are_the_same() -> None:
    z, classes = seed_noise([5, 6], (3, 4, 4))
    assert classes is None and torch.equal(z, seed_noise([5, 6], (3, 4, 4), 10)[0])


def test_the_first_images_of_many_are_the_images_of_few(make_state: Callable[..., State], monkeypatch) -> None:
    monkeypatch.setattr(share, "CHUNK", 7)
    drawer = Drawer.student(make_state('run.precision="fp64"'))
    many = drawer(20).x
    assert many.shape == (20, 2, 1, 1) and many.dtype == torch.float32
    for n in (1, 7, 12):
        torch.testing.assert_close(drawer(n).x, many[:n])
    assert not torch.isclose(drawer(20, seed=1).x, many).all(dim=1).any()


def test_the_average_is_drawn_and_the_student_put_back(make_state: Callable[..., State]) -> None:
    state = make_state()
    student = state.generator
    ours = Drawer.student(state)(4).x
    z, _ = seed_noise([0, 1, 2, 3], (2, 1, 1))
    with torch.no_grad():
        torch.testing.assert_close(ours, state.ema(2.5 * z, torch.tensor(2.5)))
    assert state.generator is student


def test_drawing_does_not_disturb_the_run(make_state: Callable[..., State]) -> None:
    state = make_state()
    before = torch.get_rng_state()
    Drawer.student(state)(4)
    assert torch.equal(torch.get_rng_state(), before)
    assert (state.nimg, state.records.sums) == (0, {})


def test_images_in_parts_are_the_same_images(make_state: Callable[..., State], monkeypatch) -> None:
    monkeypatch.setattr(share, "CHUNK", 3)
    drawer = Drawer.student(make_state('run.precision="fp64"'))
    whole = drawer(9, seed=1).x
    parts = [drawer(n, seed=1, first=first).x for first, n in ((0, 2), (2, 4), (6, 3))]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_random_labels_are_the_classes_of_the_reference_and_of_the_image_alone() -> None:
    known = np.load(Path(__file__).parent / "data" / "edm_seeds_io.npz")
    state = toy_state(dataset={"use": "toy", "label_dim": 10, "channels": 3})
    drawer = Drawer.student(state)
    for seed, expected in zip(known["seeds"].tolist(), known["class_idx_of_10"].tolist(), strict=True):
        block, i = divmod(seed, draw.SEED_BLOCK)
        assert drawer(1, seed=block, labels="random", first=i).labels.argmax(1).item() == expected
    whole, part = (drawer(n, labels="random", first=first) for n, first in ((8, 0), (5, 3)))
    assert torch.equal(whole.labels[3:], part.labels)
    torch.testing.assert_close(whole.x[3:], part.x)
    torch.testing.assert_close(drawer(8, labels=whole.labels).x, whole.x)


def test_classes_that_take_turns_do_so_across_parts() -> None:
    drawer = Drawer.student(toy_state())
    assert drawer(4, first=2).labels.argmax(1).tolist() == [2, 0, 1, 2]
    assert Drawer.student(toy_state(dataset={"use": "toy", "label_dim": 0}))(2, labels="random").labels is None
