"""Who trains when in LADD and f-distill, and what the networks are asked: at which noise level, with whose labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.testing import toy_state
from distillkit.testing.training import run
from distillkit.train.state import State
from distillkit.train.step import Step

TEACHER = {"network": {"use": "mlp", "width": 8, "depth": 1}}


def started(use: str, **keys: Any) -> State:
    return toy_state(teacher_score=TEACHER, generator_loss={"use": use, **keys})


@pytest.mark.parametrize("use", ["ladd", "f-distill"])
@pytest.mark.parametrize(("every", "critics"), [(1, {0}), (2, {1}), (5, {1, 2, 3, 4})])
def test_critics_train_in_the_iterations_between_the_students(use: str, every: int, critics: set[int]) -> None:
    student, *others = started(use, student_update_freq=every).turns
    assert (student.trains, student.every, student.first) == (("generator",), every, 0)
    assert {turn.first for turn in others} == critics and {turn.every for turn in others} == {every}
    trained = ("fake_score", "classifier") if use == "f-distill" else ("classifier",)
    assert {turn.trains for turn in others} == {trained}


@pytest.mark.parametrize("use", ["ladd", "f-distill"])
def test_features_are_asked_at_the_images_noise_with_the_images_labels(use: str) -> None:
    state = started(use, same_noise=True)
    method: Any = state.components["generator_loss"]
    asked, features = [], method.features.encoder_features

    def keeping(x: Tensor, sigma: Tensor, labels: Tensor) -> Any:
        asked.append((x, sigma, labels))
        return features(x, sigma, labels)

    method.features = type("Features", (), {"encoder_features": staticmethod(keeping)})()
    step = Step(state, state.turns[1].name, 0, 16, 16, same_images_as="generator")
    method.critic_loss(state=state, step=step)
    (x_t, sigma, of_x), (y_t, same_sigma, of_y) = asked
    assert torch.equal(of_x, step.labels) and torch.equal(of_y, step.real_labels) and not torch.equal(of_x, of_y)
    assert torch.equal(sigma, same_sigma)
    torch.testing.assert_close((x_t - step.x) / sigma, (y_t - step.real) / sigma, rtol=1e-3, atol=1e-3)
    noise = ((x_t - step.x) / sigma).flatten(1)
    assert 0.5 < noise.std() < 1.5  # unit noise at just this level


def test_the_fake_score_trains_without_dropout() -> None:
    state = started("f-distill")
    method: Any = state.components["generator_loss"]
    modes: list[bool] = []
    method.fake_score.register_forward_hook(lambda module, given, output: modes.append(module.training))
    run(state, 5)
    assert modes and not any(modes)


def test_the_mean_of_h_is_that_of_the_update_before_with_micro_batches() -> None:
    found = []
    for micro in (2, 4):
        table = {"use": "f-distill", "f": "kl", "bins": 0, "student_update_freq": 2, "lr": 1e-3}
        state = toy_state(
            teacher_score=TEACHER, generator_loss=table, run={"precision": "fp64", "batch": 8, "micro_batch": micro}
        )
        run(state, 1)
        found.append(state.components["generator_loss"].state_dict()["mean_h"])  # type: ignore[attr-defined]
    torch.testing.assert_close(*found, rtol=1e-9, atol=0)
    assert float(found[0]) != 1  # it began there, and moved once the update was over
