"""Weights of losses by what they do at a layer: the norm of the whole batch's gradient there, on any ranks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distillkit.api import UsageError
from distillkit.testing import toy_state
from distillkit.testing.ranks import simulated
from distillkit.train.ranks.alone import Ranks
from distillkit.train.state import State
from distillkit.train.step import Step


def asked(ranks: Ranks, micro_batch: int | None = None) -> tuple[list[Tensor], Tensor]:
    """`grad_norm` of a loss in each pass of this rank, and autograd's of the whole batch."""
    run = {"batch": 10, "precision": "fp64"} | ({} if micro_batch is None else {"micro_batch": micro_batch})
    state = toy_state(ranks, run=run, dataset={"size": 24})
    layer = list(state.networks["generator"].parameters())[-1].requires_grad_(True)
    passes = ranks.passes(10, micro_batch)
    found = [step.grad_norm(losses(state, step), layer) for step in (Step(state, "a", *one, 10) for one in passes)]
    whole = losses(state, Step(state, "a", 0, 10, 10)).mean()
    return found, torch.autograd.grad(whole, layer)[0].norm()


def losses(state: State, step: Step) -> Tensor:
    noisy = step.real + 0.5 * step.randn_like(step.real)
    D = state.networks["generator"](noisy, torch.tensor(0.5), step.labels)
    squared: Tensor = (D - step.real).square()
    return squared.flatten(1).sum(1)


def test_it_is_autograds_of_the_whole_batch_and_leaves_the_graph() -> None:
    (found,), want = asked(Ranks())
    torch.testing.assert_close(found, want, rtol=1e-12, atol=0)
    assert want > 0.01 and not found.requires_grad


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_find_that_of_one_process(size: int) -> None:
    for (found,), want in simulated(size, asked):
        torch.testing.assert_close(found, want, rtol=1e-12, atol=0)


def test_with_micro_batches_it_is_of_each_by_itself_on_any_ranks() -> None:
    alone, _ = asked(Ranks(), 5)
    of_two = simulated(2, lambda ranks: asked(ranks, 5)[0])
    assert alone[0] != alone[1] and [one for (one,) in of_two] == alone


def test_a_parameter_that_a_loss_does_not_depend_on_has_none() -> None:
    state = toy_state(run={"batch": 10})
    first = next(iter(state.networks["generator"].parameters())).requires_grad_(True)
    x = torch.ones(10, requires_grad=True)
    assert Step(state, "a", 0, 10, 10).grad_norm(x * 2, first) == 0


def test_it_is_refused_where_ranks_share_networks() -> None:
    state = toy_state(run={"batch": 10})
    state.ranks.shards = 2
    with pytest.raises(UsageError, match="whole weights"):
        Step(state, "a", 0, 10, 10).grad_norm(torch.zeros(10), torch.zeros(1))
