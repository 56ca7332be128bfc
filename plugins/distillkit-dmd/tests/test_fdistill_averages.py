"""f-distill's averages over the images of an update."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from distillkit.testing import toy_state, toy_step
from distillkit.testing.ranks import simulated
from distillkit.testing.training import run
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State

TEACHER = {"network": {"use": "mlp", "width": 8, "depth": 1}}
QUICK = {"lr": 1e-3, "student_update_freq": 2}


def started(ranks: Ranks | None = None, **tables: Any) -> State:
    table = {"use": "f-distill", "bins": 3, "rate": 0.5, **QUICK, **tables.pop("generator_loss", {})}
    tables["run"] = {"precision": "fp64", **tables.get("run", {})}
    return toy_state(*[ranks][: ranks is not None], teacher_score=TEACHER, generator_loss=table, **tables)


def averages(state: State) -> list[Tensor]:
    return list(state.components["generator_loss"].state_dict().values())


@pytest.mark.parametrize("given", [{}, {"micro_batch": 4}])
def test_averages_are_those_of_the_batch_whoever_computes_them(given: dict[str, int]) -> None:
    want = averages(run(started(run=given), 3))
    for found in simulated(2, lambda ranks: averages(run(started(ranks, run=given), 3))):
        torch.testing.assert_close(found, want, rtol=1e-9, atol=0)
    assert float(want[0][0]) != 1


def test_micro_batches_take_the_averages_that_the_update_before_left() -> None:
    keys = {"rate": 0.0, "bins": 1}
    states = [started(generator_loss=keys, run=given) for given in ({}, {"micro_batch": 2}, {"micro_batch": 4})]
    first = [averages(run(state, 1))[0] for state in states]
    torch.testing.assert_close(first, [first[0]] * 3, rtol=1e-9, atol=0)  # the mean r of one and the same batch
    few, many = (averages(run(state, 2)) for state in states[1:])
    torch.testing.assert_close(few, many, rtol=1e-9, atol=0)


def test_bins_without_an_image_stay_and_what_is_not_finite_stays_out() -> None:
    state = started()
    method: Any = state.components["generator_loss"]
    ratios, step = method.ratios, toy_step(state)
    values = torch.linspace(1, 2, step.n, dtype=torch.float64)
    found = ratios(step, values, torch.zeros(step.n, dtype=torch.int64))
    torch.testing.assert_close(found, torch.full_like(values, 1.25), rtol=1e-5, atol=0)  # 1 / 2 + 1.5 / 2
    torch.testing.assert_close(ratios.e[1:], torch.ones(2, dtype=torch.float64), rtol=0, atol=0)
    ratios(step, values * float("nan"), torch.zeros(step.n, dtype=torch.int64))
    assert float(ratios.e[0]) == float(found[0])
