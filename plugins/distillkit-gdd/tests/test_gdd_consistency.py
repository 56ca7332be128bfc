"""The additional CD loss: an exact solution costs nothing; gradients go to the student alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from distillkit_gdd.consistency import Consistency

from distillkit.api import UsageError
from distillkit.testing import toy_state, toy_step
from distillkit.train.iterate import iterate
from distillkit.train.state import State

TABLE = {"use": "consistency"}


@pytest.fixture
def state() -> State:
    return toy_state(auxiliary_loss=[TABLE], run={"precision": "fp64"})


def gaussian(s: float) -> Any:
    """D of data ~ N(0, s^2): x s^2 / (s^2 + t^2); the ODE's solution at 0 is x s / sqrt(s^2 + t^2)."""
    return lambda x, t, labels=None: x * s**2 / (s**2 + t**2), lambda x, t, labels=None: x * s / (s**2 + t**2).sqrt()


def test_the_exact_solution_costs_almost_nothing_and_another_student_more(state: State) -> None:
    state.teacher.network, solution = gaussian(0.5)
    loss = Consistency(Consistency.Config(levels=200))
    loss.setup(state)

    def cost(student: Any) -> float:
        state.generator = student
        return float(loss.auxiliary_loss(state, toy_step(state)).value)

    assert cost(solution) < 1e-8
    assert cost(lambda x, t, labels=None: x) > 1e-4


def test_the_gradient_reaches_the_student_and_the_teacher_stays(state: State) -> None:
    teacher = [p.clone() for p in state.teacher.network.parameters()]
    before = [p.clone() for p in state.networks["generator"].parameters()]
    iterate(state)
    after = list(state.networks["generator"].parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(teacher, state.teacher.network.parameters(), strict=True))
    assert {"loss/consistency"} <= set(state.records.means())


def test_it_needs_a_teacher(state: State) -> None:
    state.teacher = None
    with pytest.raises(UsageError, match="teacher_score"):
        Consistency(Consistency.Config()).setup(state)
