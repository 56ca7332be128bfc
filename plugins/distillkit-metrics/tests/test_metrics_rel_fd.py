"""rel-FID: zero for a student that is its teacher's sampler, larger for one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from distillkit_metrics.pixels import measured
from distillkit_metrics.statistics import frechet_distance, moments
from distillkit_metrics.strata import chosen, class_of

from distillkit.api import UsageError
from distillkit.evaluate.draw import Drawer
from distillkit.testing import toy_state

FEATURES = {"use": "digits-classifier", "iterations": 10}
TABLE = {"use": "rel-fid", "images": 24, "features": FEATURES, "sampler": {"use": "heun", "steps": 3}}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLKIT_HOME", str(tmp_path))


def test_a_student_that_is_the_teacher_is_at_no_distance() -> None:
    state = toy_state(evaluate=[TABLE], sample={"use": "heun", "steps": 3})
    (found,) = state.evaluators[0].call(state=state, draw=Drawer.student(state))
    assert found["distance"] == 0 and found["fd"] == pytest.approx(0, abs=1e-6)
    facts = state.components["evaluate.0"].protocol
    assert (facts["protocol"], facts["seeds"]) == (
        "against the teacher, by heun, from the same noise", "0-23, one CPU generator per image"
    )  # fmt: skip


def test_a_one_step_student_is_at_the_metrics_distance_from_the_same_noise() -> None:
    state = toy_state(evaluate=[TABLE])
    draw = Drawer.student(state)
    (found,) = state.evaluators[0].call(state=state, draw=draw)
    features = state.components["evaluate.0"].features
    sampler = state.components["evaluate.0"].config.sampler.build()
    labels = state.dataset.labels(chosen(class_of(state.dataset), torch.arange(3), 24, 0))
    sides = [measured(features, d(24, labels=labels).x)["penultimate"] for d in (draw.teacher(sampler), draw)]
    assert found["fd"] == pytest.approx(frechet_distance(*map(moments, sides)), rel=1e-6)
    assert found["fd"] > 0 and found["distance"] > 0


def test_frechet_measures_the_untouched_teacher_in_one_step() -> None:
    """The student starts as the teacher, so its one step has the teacher's distance; Heun's steps have another."""
    table = {"use": "frechet", "images": 24, "features": FEATURES}
    one, heun = {"use": "one-step", "sigma_init": 2.5}, {"use": "heun", "steps": 3}
    state = toy_state(evaluate=[table, {**table, "sampler": one}, {**table, "sampler": heun}])
    student, teacher, steps = (part.call(state=state, draw=Drawer.student(state))[0]["fd"] for part in state.evaluators)
    assert teacher == pytest.approx(student, rel=1e-6) and steps != pytest.approx(student, rel=1e-3)


def test_it_needs_a_teacher() -> None:
    state = toy_state(evaluate=[TABLE])
    state.teacher = None
    with pytest.raises(UsageError, match="teacher_score"):
        state.components["evaluate.0"].setup(state)
