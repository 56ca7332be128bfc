"""Images for pictures and metrics: numbered seeds as in EDM's published evaluations, any number of them alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from distillkit.engine import draw
from distillkit.engine.draw import Drawer, latents
from distillkit.engine.state import State


def test_latents_and_classes_are_those_of_the_reference() -> None:
    known = np.load(Path(__file__).parent / "data" / "edm_seeds_io.npz")
    z, classes = latents(known["seeds"].tolist(), (3, 8, 8), 10)
    assert np.array_equal(z.numpy(), known["latents_3x8x8"])
    assert np.array_equal(classes.numpy(), known["class_idx_of_10"])


def test_latents_without_labels_are_the_same() -> None:
    z, classes = latents([5, 6], (3, 4, 4))
    assert classes is None and torch.equal(z, latents([5, 6], (3, 4, 4), 10)[0])


def test_the_first_images_of_many_are_the_images_of_few(make_state: Callable[..., State], monkeypatch) -> None:
    monkeypatch.setattr(draw, "CHUNK", 7)
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
    z, _ = latents([0, 1, 2, 3], (2, 1, 1))
    with torch.no_grad():
        torch.testing.assert_close(ours, state.ema(2.5 * z, torch.tensor(2.5)))
    assert state.generator is student


def test_drawing_does_not_disturb_the_run(make_state: Callable[..., State]) -> None:
    state = make_state()
    before = torch.get_rng_state()
    Drawer.student(state)(4)
    assert torch.equal(torch.get_rng_state(), before)
    assert (state.nimg, state.records.sums) == (0, {})
